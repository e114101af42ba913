#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# DELETE /devices/{name}?files=delete removes the top of the device, if this daemon made it and
# nothing else needs it: a clone, also after it was snapshotted, and the overlay of a group.
# Everything else stays, to the byte, and 409 names the reason. A refused call changes nothing.
import os
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, checksums, expect, main, run

SIZE_BYTES = 1 << 20


def clone(daemon, name, group, device):
    answer = daemon.request("POST", "/devices", {"name": name, "from": {"group": group, "device": device}})
    expect(answer.status == 201, "clone %s: %s", name, answer)


def deleted(daemon, name, *gone):
    before = daemon.image_names()
    others = checksums([daemon.image(file) for file in before if file not in gone])
    answer = daemon.request("DELETE", "/devices/%s?files=delete" % name)
    expect(answer.status == 204, "DELETE %s: %s", name, answer)
    expect(daemon.image_names() == [file for file in before if file not in gone], "%s: files were %s and are %s",
           name, before, daemon.image_names())
    expect(checksums(others) == others, "%s: another file has changed", name)
    expect(daemon.request("GET", "/devices/" + name).status == 404, "%s is still there", name)


def refused(daemon, name, reason, status=409, code="ImageIsKept", query="?files=delete", body=None):
    before = daemon.image_names()
    device = daemon.get("/devices/" + name)
    answer = daemon.request("DELETE", "/devices/" + name + query, body)
    expect(answer.status == status and answer.body["code"] == code and reason in answer.body["detail"], "%s: %s",
           name, answer)
    expect(daemon.image_names() == before and daemon.get("/devices/" + name) == device, "%s has changed", name)


def gone(daemon):
    """A file that its operator removed is no reason to keep the device, online or failed."""
    for fails in (False, True):
        clone(daemon, "vdg", "g1", "vda")
        os.unlink(daemon.image("vdg.qcow2"))
        if fails:
            daemon.stop()
            daemon.start()
        deleted(daemon, "vdg")
        clone(daemon, "vdg", "g1", "vda")
        deleted(daemon, "vdg", "vdg.qcow2")


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        refused(daemon, "vda", "no overlay or clone that this daemon made")
        refused(daemon, "vda", "must be delete or keep", 400, "InvalidParameter", "?files=all")
        refused(daemon, "vda", "discard_unflushed", 400, "InvalidParameter", body={"discard_unflushed": True})
        daemon.snapshot("g1", ["vda"])
        clone(daemon, "vdb", "g1", "vda")
        clone(daemon, "vdc", "g1", "vda")
        handle = daemon.nbd("vdb")
        handle.pwrite(b"x" * 512, 0)
        refused(daemon, "vdb", "connected client", code="DeviceInUse")
        handle.shutdown()
        deleted(daemon, "vdb", "vdb.qcow2")
        gone(daemon)
        expect(daemon.get("/snapshot-groups/g1")["members"][0]["clones"] == ["vdc"], "vdb is listed")
        clone(daemon, "vdb", "g1", "vda")  # its path is free again
        daemon.snapshot("g2", ["vdb"])
        answer = daemon.request("POST", "/devices", {"name": "ro", "image": "vdb.qcow2", "format": "qcow2",
                                                     "read_only": True})
        expect(answer.status == 201, "a frozen clone is attached to be read: %s", answer)
        refused(daemon, "ro", "beneath " + daemon.image("vdb+g2.qcow2"))
        deleted(daemon, "vdb", "vdb+g2.qcow2")
        refused(daemon, "ro", "frozen by snapshot group g2")
        deleted(daemon, "vda", "vda+g1.qcow2")
        other = daemon.image("vdc.qcow2")
        shutil.copyfile(other, other + ".copy")
        os.rename(other, other + ".moved")
        os.rename(other + ".copy", other)
        refused(daemon, "vdc", "another file")
        os.rename(other + ".moved", other)
        for end in (daemon.stop, daemon.kill):
            end()
            daemon.start()
            expect(daemon.get("/devices/vdc")["state"] == "online", "vdc is not there")
        deleted(daemon, "vdc", "vdc.qcow2")
        answer = daemon.request("DELETE", "/devices/ro?files=keep")
        expect(answer.status == 204 and os.path.exists(daemon.image("vdb.qcow2")), "files=keep: %s", answer)
        clone(daemon, "vdd", "g2", "vdb")
        run("qemu-img", "compare", "--force-share", "-f", "qcow2", "-F", "qcow2", daemon.image("vdd.qcow2"),
            daemon.image("vdb.qcow2"))


main(test)
