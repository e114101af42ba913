#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# DeviceInUse names its holder: the group that runs, or the export that clients are connected to.
# GroupExists names the group that has the name, and whether the same request made it, so that a
# client is idempotent by name without a key.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import expect, group_body, main


def check_holder(daemon, answer, holder):
    expect(answer.status == 409 and answer.body["code"] == "DeviceInUse" and answer.body.get("holder") == holder,
           "not held by %s: %s", holder, answer)


def check_group(daemon):
    daemon.close_gate("prepare")
    call = Call(daemon, "POST", "/snapshot-groups", group_body("running", ["vda"]))
    daemon.await_gate("prepare")
    holder = {"kind": "group", "id": daemon.get("/snapshot-groups/running")["id"]}
    check_holder(daemon, daemon.request("POST", "/snapshot-groups", group_body("other", ["vdb", "vda"])), holder)
    check_holder(daemon, daemon.request("DELETE", "/devices/vda"), holder)
    daemon.open_gate("prepare")
    expect(call.answer().status == 201, "the group that ran: %s", call.answer())


def check_clients(daemon):
    client = daemon.nbd("vda")
    check_holder(daemon, daemon.request("DELETE", "/devices/vda"), {"kind": "export", "id": "vda"})
    client.shutdown()


def check_existing(daemon):
    body = group_body("g", ["vda"])
    made = daemon.request("POST", "/snapshot-groups", body)
    expect(made.status == 201, "%s", made)
    for again, same in ((body, True), (group_body("g", ["vdb"]), False), ({**body, "labels": {"a": "b"}}, False)):
        answer = daemon.request("POST", "/snapshot-groups", again)
        expect(answer.status == 409 and answer.body["code"] == "GroupExists" and
               answer.body["existing"] == {"id": made.body["id"], "same_request": same}, "%s", answer)
    daemon.restart()
    answer = daemon.request("POST", "/snapshot-groups", body)
    expect(answer.body["existing"] == {"id": made.body["id"], "same_request": True}, "after a restart: %s", answer)


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        daemon.create_device("vdb", "raw", 1 << 20)
        check_group(daemon)
        check_clients(daemon)
        check_existing(daemon)


main(test)
