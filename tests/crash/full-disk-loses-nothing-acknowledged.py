#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes until the images' file system is full: tmpfs, ext4, xfs; large and small clusters.

The write that finds no space is told ENOSPC and nothing else. A flush succeeds, and what was
acknowledged is there after it, after kill -9 with the disk still full, and for QEMU after a detach.
So it is when space that was given back is taken again, by data and by tables, in an image that QEMU
made and in an overlay as well.
"""
import errno
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from filesystems import FileSystem, own_mounts
from snapgroupd import Daemon, expect, main, qcow2_check, run, wait_until

DISK_BYTES, BLOCK = 1 << 30, 64 << 10
FREE_BYTES = 8 << 20


def fill(daemon, flat, first, stride):
    """Writes blocks until there is no space."""
    import nbd
    handle = daemon.nbd("vda")
    for block in range(first, DISK_BYTES // BLOCK, stride):
        data = (block * 251 + first + 1).to_bytes(8, "big") * (BLOCK // 8)
        try:
            handle.pwrite(data, block * BLOCK)
        except nbd.Error as error:
            expect(error.errnum == errno.ENOSPC, "block %d: %s", block, error)
            break
        os.pwrite(flat, data, block * BLOCK)
    else:
        expect(False, "the disk did not get full")
    return handle


def discard(handle, flat, length):
    handle.trim(length, 0)
    os.pwrite(flat, bytes(length), 0)


def must_be_as(daemon, flat_path, what):
    """Detaches it; then QEMU looks."""
    image = daemon.get("/devices/vda")["top"]

    def detach():
        answer = daemon.request("DELETE", "/devices/vda")
        expect(answer.status in (204, 409), "%s: DELETE: %s", what, answer)
        return answer.status == 204  # 409: the connection is not gone yet
    wait_until(detach, "it is detached")
    qcow2_check(image)
    done = subprocess.run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, flat_path],
                          capture_output=True, text=True)
    expect(done.returncode == 0, "%s: %s", what, done.stdout)
    return image


def overlay_make(daemon, image):
    daemon.attach_device("vda", image, "qcow2")
    daemon.snapshot("g", ["vda"])


def exercise(daemon, directory, what, leave_space):
    flat_path = os.path.join(directory, "flat")
    flat = os.open(flat_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.ftruncate(flat, DISK_BYTES)
    leave_space(FREE_BYTES)
    handle = fill(daemon, flat, 0, 9)
    handle.flush()
    daemon.kill()
    daemon.start()
    handle = daemon.nbd("vda")
    discard(handle, flat, 9 * 20 * BLOCK)
    handle.flush()
    handle.shutdown()
    fill(daemon, flat, 3, 9)
    daemon.kill()  # not flushed: it is in the journal
    daemon.start()
    expect(daemon.get("/devices/vda")["state"] == "online", "%s: %s", what, daemon.get("/devices/vda"))
    handle = daemon.nbd("vda")
    handle.flush()
    handle.shutdown()
    leave_space(None)
    os.close(flat)
    return must_be_as(daemon, flat_path, what)


def walk(directory, kind, leave_space, daemon):
    for cluster_bytes in (64 << 10, 4 << 10):
        what = "%s, clusters of %d" % (kind, cluster_bytes)
        daemon.start()
        daemon.create_device("vda", "qcow2", DISK_BYTES, cluster_size_bytes=cluster_bytes)
        os.unlink(exercise(daemon, directory, what, leave_space))
        image = daemon.image("vda.qcow2")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=%d" % cluster_bytes, image,
            str(DISK_BYTES))
        run("cp", "--sparse=always", image, image + ".sparse")
        os.rename(image + ".sparse", image)
        overlay_make(daemon, image)
        exercise(daemon, directory, what + ", an overlay of a sparse one", leave_space)
        daemon.stop()
        for name in daemon.image_names():
            if name.startswith("vda"):
                os.unlink(daemon.image(name))
        for memory in daemon.state, daemon.runtime:
            shutil.rmtree(memory)
            os.makedirs(memory)


def test():
    own_mounts()
    with tempfile.TemporaryDirectory(prefix="sg.") as directory:
        for kind in ("tmpfs", "ext4", "xfs"):
            with Daemon() as daemon:
                if kind == "tmpfs":
                    run("mount", "-t", "tmpfs", "-o", "size=%d" % FREE_BYTES, "tmpfs", daemon.images)
                    walk(directory, kind, lambda free: None, daemon)
                    run("umount", daemon.images)
                    continue
                with FileSystem(kind, directory, daemon.images) as disk:
                    walk(directory, kind, disk.leave, daemon)


main(test)
