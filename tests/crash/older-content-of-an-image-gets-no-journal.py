#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Between a kill and the restart the content of an image is restored from a backup, into the same
# file. The backup was made before the daemon opened the image, and has clusters free that the
# journal of the killed daemon names: the journal is not replayed onto it. With its own content back
# the image has all that was acknowledged.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, checksum, expect, main

CLUSTER = 65536


def write(daemon, first, byte):
    handle = daemon.nbd("vda")
    for number in range(first, first + 4):
        handle.pwrite(byte * CLUSTER, number * CLUSTER)
    return handle


def leave_room(daemon):
    """Clusters are free in the middle of the file."""
    write(daemon, 0, b"1").shutdown()
    handle = write(daemon, 4, b"2")
    handle.flush()
    handle.trim(4 * CLUSTER, 0)
    handle.flush()
    handle.shutdown()


def read(path):
    with open(path, "rb") as image:
        return image.read()


def overwrite(path, content):
    with open(path, "r+b") as image:
        image.truncate()
        image.write(content)


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 2 << 20)
        path = daemon.image("vda.qcow2")
        leave_room(daemon)
        daemon.stop()
        backup = read(path)
        daemon.start()
        write(daemon, 16, b"3")
        daemon.kill()
        content = read(path)
        overwrite(path, backup)
        before = checksum(path)
        daemon.start()
        device = daemon.get("/devices/vda")
        expect(device["state"] == "failed" and "journal" in device["reason"], "the device: %s", device)
        expect(checksum(path) == before, "the image was changed")
        daemon.stop()

        overwrite(path, content)
        daemon.start()
        handle = daemon.nbd("vda")
        for first, byte in ((0, b"\0"), (4, b"2"), (16, b"3")):
            expect(handle.pread(4 * CLUSTER, first * CLUSTER) == byte * 4 * CLUSTER, "at cluster %d", first)
        handle.shutdown()


main(test)
