# SPDX-License-Identifier: Apache-2.0
"""Parts of files, mounted by system calls: mount(8) and umount(8) take longer to start than a small
file system to mount, and power-loss tests mount thousands.

The loop device goes with its last user, the mount.
"""
import ctypes
import errno
import fcntl
import os
import struct

LOOP_CTL_GET_FREE, LOOP_CONFIGURE = 0x4C82, 0x4C0A
LO_FLAGS_AUTOCLEAR = 4
BLOCK_BYTES = 512
# struct loop_config: descriptor, size of a block; of loop_info64 the offset, the limit, the flags.
CONFIG = struct.Struct("=II24xQQ12xI176x64x")
TRIES = 100  # somebody else may take the device that is free

libc = ctypes.CDLL(None, use_errno=True)


def is_configured(device, fd, offset, size):
    try:
        fcntl.ioctl(device, LOOP_CONFIGURE, CONFIG.pack(fd, BLOCK_BYTES, offset, size, LO_FLAGS_AUTOCLEAR))
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False


def loop(path, offset, size):
    """The descriptor of a loop device of that part of the file, and its name."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(TRIES):
            name = "/dev/loop%d" % fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
            if is_configured(device, file, offset, size):
                return device, name
            os.close(device)
        raise OSError(errno.EBUSY, "no loop device is free")
    finally:
        os.close(control)
        os.close(file)


def mount(path, offset, size, kind, mountpoint, options):
    device, name = loop(path, offset, size)
    try:
        if libc.mount(name.encode(), mountpoint.encode(), kind.encode(), 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount of %s, %s" % (path, kind), mountpoint)
    finally:
        os.close(device)


def umount(mountpoint):
    if libc.umount2(mountpoint.encode(), 0) != 0:
        raise OSError(ctypes.get_errno(), "umount", mountpoint)
