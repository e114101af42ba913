# SPDX-License-Identifier: Apache-2.0
"""File systems on loop devices, in a mount namespace of the test's own (own_mounts), so that
nothing stays mounted or looped, however the test ends.

    own_mounts()
    with FileSystem("xfs", directory, mountpoint) as disk:
        disk.leave(1 << 20)      only so many bytes are free; leave(None): all
        disk.away()              unmounted; disk.back() mounts it again, from another loop device
"""
import contextlib
import errno
import os
import subprocess
import sys

from snapgroupd import run

KINDS = ("ext4", "xfs", "btrfs")
BYTES = 256 << 20
MKFS = {  # as small as each takes; --unsupported: xfs below 300 MB
    "ext4": ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard"],
    # Without times of birth.
    "ext4-128": ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", "-I", "128"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K", "--unsupported"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K", "--data", "single", "--metadata", "dup"],
}


def own_mounts():
    """Starts the script again in a mount namespace of its own; skips it where that cannot be."""
    if os.environ.get("OWN_MOUNTS"):
        return
    able = os.geteuid() == 0 and os.path.exists("/dev/loop-control") and os.path.exists("/dev/fuse") and \
        subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode == 0
    if not able:
        sys.stderr.write("SKIPPED: this needs root, FUSE, loop devices and mount namespaces\n")
        sys.exit(77)
    os.environ["OWN_MOUNTS"] = "1"
    os.execvp("unshare", ["unshare", "--mount"] + sys.argv)


@contextlib.contextmanager
def small_directory(daemon, size):
    """A directory for images with so much room ("20M"); the daemon is stopped before it goes."""
    directory = daemon.image("small")
    os.mkdir(directory)
    run("mount", "-t", "tmpfs", "-o", "size=" + size, "none", directory)
    try:
        yield directory
    finally:
        run("umount", "--lazy", directory)


class FileSystem:
    def __init__(self, kind, directory, mountpoint, size_bytes=BYTES):
        self.mountpoint = mountpoint
        self.file = os.path.join(directory, "%s.%s" % (os.path.basename(mountpoint), kind))
        self.device = None
        with open(self.file, "w") as file:
            file.truncate(size_bytes)
        run(*MKFS[kind], self.file)

    def __enter__(self):
        os.makedirs(self.mountpoint, exist_ok=True)
        self.back()
        return self

    def __exit__(self, *unused):
        self.away()
        if self.device:
            subprocess.run(["losetup", "--detach", self.device], check=False)
        os.unlink(self.file)

    def attach(self):
        return run("losetup", "--find", "--show", self.file).strip()

    def back(self):
        device, self.device = self.device or self.attach(), None
        run("blockdev", "--flushbufs", device)
        run("mount", device, self.mountpoint)
        # The kernel detaches it with the last user, the mount.
        run("losetup", "--detach", device)

    def is_there(self):
        return os.path.ismount(self.mountpoint)

    def away(self):
        """Nobody has a file of it open."""
        if self.is_there():
            self.device = self.attach()  # while the old one is in use, so that it is another
            run("umount", self.mountpoint)

    def leave(self, free_bytes):
        """A file takes all the space but so much. What others take at the same time may be short of
        it."""
        ballast = os.path.join(self.mountpoint, "ballast")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(ballast)
        if free_bytes is None:
            run("sync", "--file-system", self.mountpoint)  # some have the space back only then
        else:
            fill(ballast, free_bytes)


def fill(path, free_bytes):
    """Makes a file of all the space that there is, but for so much."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno != errno.ENOSPC:  # so full that a directory cannot take one more name
            raise
        return
    try:
        end, step = 0, 1 << 30
        while step >= 64 << 10:
            there = os.fstatvfs(fd)
            step = min(step, there.f_bavail * there.f_frsize - free_bytes)
            try:
                if step > 0:
                    os.posix_fallocate(fd, end, step)
                    end += step
                    continue
            except OSError:  # full sooner than it says
                pass
            step //= 2
    finally:
        os.close(fd)
