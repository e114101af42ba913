#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A device is changed while somebody detaches it: the change was made, so its reply says so, however
# late that looks at the device; the detach follows.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import expect, main

LOOK_S = 0.2  # a detach that does not wait for the change has ended by then
CHANGES = [  # the body, the field that it changes
    ({"size_bytes": 128 << 10}, "size_bytes"),
    ({"labels": {"a": "1"}}, "labels"),
]


def change_and_detach(daemon, name, body, field):
    daemon.create_device(name, "qcow2", 64 << 10)
    daemon.close_gate("info")
    changing = Call(daemon, "PATCH", "/devices/" + name, body)
    daemon.await_gate("info")
    detaching = Call(daemon, "DELETE", "/devices/" + name)
    detaching.join(LOOK_S)
    daemon.open_gate("info")
    changed, detached = changing.answer(), detaching.answer()
    expect(changed.status == 200 and changed.body[field] == body[field], "PATCH: %s", changed)
    expect(detached.status == 204, "DELETE: %s", detached)


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        for number, (body, field) in enumerate(CHANGES):
            change_and_detach(daemon, "d%d" % number, body, field)


main(test)
