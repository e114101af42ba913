#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A device is to grow if it still has the tag that its client knows, and a group gives it another
# top before it can be held: 412, and the size stays. If any tag will do, it grows all the same.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import expect, main

MIB = 1 << 20


def grow_beside_a_group(daemon, tag, group):
    daemon.close_gate("resize")
    call = Call(daemon, "PATCH", "/devices/vda", {"size_bytes": 2 * MIB}, If_Match=tag)
    daemon.await_gate("resize")
    daemon.snapshot(group, ["vda"])
    daemon.open_gate("resize")
    return call.answer()


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", MIB)
        tag = daemon.request("GET", "/devices/vda").headers["ETag"]
        answer = grow_beside_a_group(daemon, tag, "one")
        expect(answer.status == 412 and answer.body["code"] == "PreconditionFailed", "%s", answer)
        device = daemon.get("/devices/vda")
        expect(device["size_bytes"] == MIB and len(device["chain"]) == 2, "%s", device)
        answer = grow_beside_a_group(daemon, "*", "two")
        expect(answer.status == 200 and answer.body["size_bytes"] == 2 * MIB, "%s", answer)


main(test)
