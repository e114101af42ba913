#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A database that was saved while a group was being prepared, or a clone made, says that a start
# removes the overlay. It is restored when that has been a disk for long: the overlay stays, with
# what its clients wrote, whether that is in the file or, after a kill, in its journal only. The
# right database brings the disk back.
import os
import shutil
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main

PREPARING = ("UPDATE groups SET state = 'preparing', error_message = NULL WHERE name = 'g'",
             "UPDATE members SET is_settled = 0")
CREATING = ("UPDATE devices SET state = 'creating' WHERE name = 'clone'",)


def write(daemon, name, byte):
    """Not flushed."""
    handle = daemon.nbd(name)
    handle.pwrite(byte * 65536, 0)
    return handle


def holds(daemon, name, byte):
    handle = daemon.nbd(name)
    content = handle.pread(65536, 0)
    handle.shutdown()
    return content == byte * 65536


def restore(daemon, changes):
    """Exchanges the database of the daemon that has ended for one that is as it was then; returns
    the right one."""
    right = os.path.join(daemon.directory, "right")
    shutil.rmtree(right, ignore_errors=True)
    shutil.copytree(daemon.state, right)
    with sqlite3.connect(os.path.join(daemon.state, "snapgroupd.db")) as database:
        for change in changes:
            database.execute(change)
    database.close()
    return right


def must_stay(daemon, name, image, changes, byte):
    right = restore(daemon, changes)
    daemon.start()
    expect(os.path.exists(daemon.image(image)), "%s was removed", image)
    daemon.stop()
    shutil.rmtree(daemon.state)
    shutil.copytree(right, daemon.state)
    daemon.start()
    expect(holds(daemon, name, byte), "%s has lost its content", name)


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        daemon.snapshot("g", ["vda"])
        answer = daemon.request("POST", "/devices", {"name": "clone", "image": "clone.qcow2",
                                                     "from": {"group": "g", "device": "vda"}})
        expect(answer.status == 201, "clone: %s", answer)
        for byte, name, image, changes in ((b"1", "vda", "vda+g.qcow2", PREPARING),
                                           (b"2", "clone", "clone.qcow2", CREATING)):
            write(daemon, name, byte).shutdown()
            daemon.stop()
            must_stay(daemon, name, image, changes, byte)
            write(daemon, name, bytes([byte[0] + 8]))
            daemon.kill()
            must_stay(daemon, name, image, changes, bytes([byte[0] + 8]))


main(test)
