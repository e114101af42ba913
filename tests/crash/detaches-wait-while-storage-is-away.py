#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A daemon is killed once it has recorded that a device goes together with its top, and starts again
# while the file system of the top is away. The file does not count as removed: the device is not
# shown, but its name is taken and a repeated detach says why, until the file system is back: then
# the file goes by itself. A caller may leave it instead; then it is an image like any other.
import os
import sqlite3
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import FileSystem, own_mounts
from snapgroupd import Daemon, expect, main, wait_until

SIZE_BYTES = 1 << 20


def kill_while_detaching(daemon, group):
    """As after a kill right behind the row of DELETE /devices/vda?files=delete."""
    daemon.kill()
    with sqlite3.connect(os.path.join(daemon.state, "snapgroupd.db")) as database:
        database.execute("UPDATE devices SET state = 'detaching', removed_by = ?", [group])
    database.close()


def recorded(daemon, image):
    return daemon.recorded("SELECT is_kept FROM images WHERE path = ?", image)


def is_waiting(daemon):
    expect(daemon.list("/devices") == [], "the device is shown")
    expect(daemon.request("GET", "/devices/vda").status == 404, "the device is shown")
    body = {"name": "vda", "image": "other", "format": "raw", "size_bytes": SIZE_BYTES}
    answer = daemon.request("POST", "/devices", body)
    expect((answer.status, answer.body["code"]) == (409, "DeviceExists"), "the name is free: %s", answer)
    for path in ("/devices/vda", "/devices/vda?files=delete"):
        answer = daemon.request("DELETE", path)
        expect((answer.status, answer.body["code"]) == (409, "UnflushedData") and "discard_unflushed" in
               answer.body["detail"], "%s: %s", path, answer)


def interrupted(daemon, storage, name):
    """The top of vda, which is to go, on a file system that is away."""
    daemon.start()
    daemon.create_device("vda", "qcow2", SIZE_BYTES, image=name + ".qcow2")
    answer = daemon.request("POST", "/snapshot-groups",
                            {"name": name, "devices": [{"device": "vda", "snapshot_file": "m/%s.qcow2" % name}]})
    expect(answer.status == 201, "%s", answer)
    kill_while_detaching(daemon, answer.body["id"])
    storage.away()
    daemon.start()
    is_waiting(daemon)
    daemon.restart()
    is_waiting(daemon)
    return os.path.join(storage.mountpoint, name + ".qcow2")


def comes_back(daemon, storage):
    top = interrupted(daemon, storage, "one")
    storage.back()
    wait_until(lambda: not os.path.exists(top), "the file to go")
    wait_until(lambda: daemon.request("DELETE", "/devices/vda").status == 404, "the device to go")
    expect(not recorded(daemon, top), "the image is still recorded")
    daemon.stop()


def is_left(daemon, storage):
    top = interrupted(daemon, storage, "two")
    answer = daemon.request("DELETE", "/devices/vda", {"discard_unflushed": True})
    expect(answer.status == 204, "%s", answer)
    expect(daemon.request("DELETE", "/devices/vda").status == 404, "the device is still there")
    expect(recorded(daemon, top) == [(1,)], "the image is not kept: %s", recorded(daemon, top))
    storage.back()
    daemon.restart()
    daemon.attach_device("vda", top, "qcow2")
    daemon.stop()


def test():
    with tempfile.TemporaryDirectory(prefix="sg.") as directory, Daemon() as daemon, \
            FileSystem("ext4", directory, os.path.join(daemon.images, "m")) as storage:
        comes_back(daemon, storage)
        is_left(daemon, storage)


own_mounts()
main(test)
