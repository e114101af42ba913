#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A device is detached with its file while a group of it is being taken: its top is about to be
# another one, so the call is refused as one that may be repeated, and names the group. Afterwards
# the new top goes with the device; so it does if the group is taken while the device is detached,
# just before it is held.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import expect, group_body, main

STEPS = ("prepare", "committing", "cut")


def detach(daemon, name):
    return daemon.request("DELETE", "/devices/%s?files=delete" % name)


def group_beside_a_detach(daemon):
    daemon.create_device("d", "qcow2", 64 << 10)
    expect(daemon.snapshot("before", ["d"]), "a top that may go")
    daemon.close_gate("remove")
    call = Call(daemon, "DELETE", "/devices/d?files=delete")
    daemon.await_gate("remove")
    top = daemon.snapshot("beside", ["d"])["members"][0]["snapshot_file"]
    daemon.open_gate("remove")
    expect(call.answer().status == 204, "%s", call.answer())
    expect(not os.path.exists(daemon.image(top)), "'%s' is left", top)


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        for step in STEPS:
            name = "d-" + step
            daemon.create_device(name, "qcow2", 64 << 10)
            daemon.close_gate(step)
            call = Call(daemon, "POST", "/snapshot-groups", group_body("g-" + step, [name]))
            daemon.await_gate(step)
            refused = detach(daemon, name)
            daemon.open_gate(step)
            expect(call.answer().status == 201, "%s", call.answer())
            expect(refused.status == 409 and refused.body["code"] == "DeviceInUse" and refused.body["retryable"] and
                   refused.body["holder"]["id"] == call.answer().body["id"], "%s", refused)
            expect(detach(daemon, name).status == 204, "%s is not detached", name)
        group_beside_a_detach(daemon)


main(test)
