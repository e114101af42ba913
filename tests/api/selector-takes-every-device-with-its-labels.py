#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# "selector" in place of "devices": the members are all devices that have every label, in the order
# of their names, with overlays of the default names. A device that cannot be frozen refuses the
# group as if it had been named. None, both or neither of the two, and more members than a group may
# have are refused.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main

PATH = "/snapshot-groups"
DISKS = {"c": {"app": "db", "tier": "1"}, "a": {"tier": "1", "app": "db"}, "b": {"app": "web", "tier": "1"},
         "d": {"app": "db"}, "e": {}, "odd": {"quote\"d": "b\\s/é", "%": "x'; --"}}


def select(daemon, name, labels, status, query=""):
    answer = daemon.request("POST", PATH + query, {"name": name, "selector": {"labels": labels}})
    expect(answer.status == status, "%s: %s", labels, answer)
    return answer.body


def members(daemon, name, labels, devices):
    for body in (select(daemon, name, labels, 200, "?dry_run=true"), select(daemon, name, labels, 201)):
        found = [(member["device"], member["snapshot_file"]) for member in body["members"]]
        wanted = [(device, daemon.image("%s+%s.qcow2" % (device, name))) for device in devices]
        expect(found == wanted, "%s: %s instead of %s", labels, found, wanted)


def refused(daemon, body, status, code, pointer, **more):
    answer = daemon.request("POST", PATH, {"name": "no", **body})
    expect(answer.status == status and answer.body["code"] == code and answer.body["pointer"] == pointer,
           "%s: %s", body, answer)
    for key, value in more.items():
        expect(answer.body[key] == value, "%s: %s", body, answer)
    return answer.body


def test():
    with Daemon() as daemon:
        daemon.start()
        for name, labels in DISKS.items():
            daemon.create_device(name, "raw", 1 << 20, labels=labels)
        members(daemon, "db", {"app": "db"}, ["a", "c", "d"])
        members(daemon, "both", {"tier": "1", "app": "db"}, ["a", "c"])
        members(daemon, "odd", DISKS["odd"], ["odd"])

        selector = {"labels": {"app": "db"}}
        refused(daemon, {"selector": {"labels": {"app": "none"}}}, 422, "EmptyGroup", "/selector")
        refused(daemon, {"selector": {"labels": {"app": "db", "tier": "2"}}}, 422, "EmptyGroup", "/selector")
        refused(daemon, {"selector": {"labels": {}}}, 422, "InvalidValue", "/selector/labels")
        refused(daemon, {"selector": {"labels": {"app": 1}}}, 400, "WrongType", "/selector/labels/app")
        refused(daemon, {"selector": {}}, 400, "MissingField", "/selector/labels")
        refused(daemon, {"selector": {**selector, "names": 1}}, 400, "UnknownField", "/selector/names")
        refused(daemon, {"selector": selector, "devices": [{"device": "a"}]}, 422, "InvalidValue", "/selector")
        refused(daemon, {}, 400, "MissingField", "/devices")

        daemon.stop()
        os.rename(daemon.image("c+both.qcow2"), daemon.image("away"))
        daemon.start()
        problem = refused(daemon, {"selector": selector}, 409, "DeviceFailed", "/selector", device="c")
        error = daemon.get(problem["instance"])["error"]
        expect(error["pointer"] == "/selector" and error["device"] == "c", "the kept attempt: %s", error)
        os.rename(daemon.image("away"), daemon.image("c+both.qcow2"))

        with open(daemon.image("shared.raw"), "w") as shared:
            shared.truncate(1 << 20)
        for number in range(1025):  # one image for all, which they only read
            answer = daemon.request("POST", "/devices", {"name": "m%d" % number, "image": "shared.raw", "format": "raw",
                                                         "read_only": True, "labels": {"many": "1"}})
            expect(answer.status == 201, "device %d: %s", number, answer)
            if number == 1023:
                refused(daemon, {"selector": {"labels": {"many": "1"}}}, 422, "DeviceIsReadOnly", "/selector")
        refused(daemon, {"selector": {"labels": {"many": "1"}}}, 422, "InvalidValue", "/selector")


main(test)
