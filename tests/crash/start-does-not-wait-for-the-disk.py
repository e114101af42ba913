#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A daemon is killed with WRITES (default 2000) changes of an image's tables in its journal only,
# and their data in the page cache only. The next daemon is ready before it has written to the
# image: the file is unchanged (a new refcount block may follow it), and the journal is complete.
# The disk has all acknowledged data all the same and accepts writes, survives another kill, and
# only a flush empties the journal. WRITES=48000 fills the journal completely.
import hashlib
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, qcow2_check, run

WRITES = int(os.environ.get("WRITES", "2000"))
BLOCK_BYTES = 4096
CLUSTER_BYTES = 65536
SIZE_BYTES = WRITES * CLUSTER_BYTES


def content(number, salt):
    return (b"%08d%08d" % (number, salt)) * (BLOCK_BYTES // 16)


def write(daemon, numbers, salt):
    handle = daemon.nbd("vda")
    for number in numbers:
        handle.pwrite(content(number, salt), number * CLUSTER_BYTES)
    # Still connected: the end of a connection flushes nothing, but proves nothing either.
    return handle


def verify(daemon, salts):
    handle = daemon.nbd("vda")
    for number in range(WRITES):
        found = bytes(handle.pread(BLOCK_BYTES, number * CLUSTER_BYTES))
        expect(found == content(number, salts[number]), "block %d is not what was acknowledged", number)
    handle.shutdown()


def checksum(image, size_bytes):
    digest = hashlib.sha256()
    with open(image, "rb") as file:
        while size_bytes:
            piece = file.read(min(size_bytes, 1 << 20))
            digest.update(piece)
            size_bytes -= len(piece)
    return digest.digest()


def start_untouched(daemon, image):
    size_bytes = os.path.getsize(image)
    left = checksum(image, size_bytes)
    began = time.monotonic()
    daemon.start()
    ready_s = time.monotonic() - began
    expect(checksum(image, size_bytes) == left, "the start changed the image")
    expect(len(os.listdir(os.path.join(daemon.runtime, "journals"))) == 1, "the journal is gone")
    return ready_s


def test():
    salts = [1] * WRITES
    with Daemon() as daemon:
        daemon.start()
        image = daemon.image("vda.qcow2")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=64k", image, str(SIZE_BYTES))
        daemon.attach_device("vda", "vda.qcow2", "qcow2")
        first = write(daemon, range(WRITES), 1)
        daemon.kill()
        ready_s = [start_untouched(daemon, image)]
        verify(daemon, salts)
        second = write(daemon, range(0, WRITES, 3), 2)
        salts[::3] = [2] * len(salts[::3])
        daemon.kill()
        ready_s.append(start_untouched(daemon, image))
        qcow2_check(image)
        verify(daemon, salts)
        handle = daemon.nbd("vda")
        handle.flush()
        handle.shutdown()
        daemon.kill()
        daemon.start()
        verify(daemon, salts)
        daemon.stop()
        qcow2_check(image)
        del first, second
        print("%d writes: ready after %s" % (WRITES, ", ".join("%.0f ms" % (s * 1e3) for s in ready_s)))


main(test)
