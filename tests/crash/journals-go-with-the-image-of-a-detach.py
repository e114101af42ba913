#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A daemon is killed once it has recorded that a device goes together with its top, and before it
# has flushed what its client wrote: the next start removes the image, and with it the journal that
# has these writes. One of another image, which only lies under that path, stays.
import os
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main


def kill_while_detaching(daemon, group):
    """As after a kill right behind the row of DELETE /devices/vda?files=delete."""
    handle = daemon.nbd("vda")
    handle.pwrite(b"x" * 65536, 0)
    daemon.kill()
    with sqlite3.connect(os.path.join(daemon.state, "snapgroupd.db")) as database:
        database.execute("UPDATE devices SET state = 'detaching', removed_by = ?", [group])
    database.close()
    expect(journals(daemon), "the writes are in no journal")


def journals(daemon):
    return os.listdir(os.path.join(daemon.runtime, "journals"))


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        kill_while_detaching(daemon, daemon.snapshot("g", ["vda"])["id"])
        daemon.start()
        expect(not daemon.get("/devices")["items"], "the device is still there")
        expect(daemon.image_names() == ["vda.qcow2"], "images: %s", daemon.image_names())
        expect(not journals(daemon), "journals: %s", journals(daemon))

        daemon.create_device("vda", "qcow2", 1 << 20, image="vdb.qcow2")
        kill_while_detaching(daemon, daemon.snapshot("h", ["vda"])["id"])
        top = daemon.image("vda+h.qcow2")
        os.rename(top, top + ".away")
        os.link(daemon.image("vdb.qcow2"), top)
        daemon.start()
        expect(os.path.exists(top), "another image was removed")
        expect(journals(daemon), "the journal of an image that is away was removed")


main(test)
