#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# POST /snapshot-groups?dry_run=true: what the real call refuses before it touches anything is
# refused with the same problem; what it would do is the plan; files, groups, devices and events are
# as before. A dry run neither holds a device nor waits for a group that runs.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import checksums, expect, group_body, main, run, wait_until

PATH = "/snapshot-groups"
DEVICES = [{"device": "vda"}, {"device": "vdb", "snapshot_file": "sub/b.1"}]
REFUSED = [
    {"devices": []},
    {"devices": DEVICES + [{"device": "none"}]},
    {"devices": [{"device": "vda"}, {"device": "vda"}]},
    {"devices": [{"device": "vda"}, {"device": "ro"}]},
    {"devices": [{"device": "gone"}]},
    {"name": "taken", "devices": DEVICES},
    {"name": "no name", "devices": DEVICES},
    {"devices": DEVICES, "deadline_ms": 0},
    {"devices": DEVICES, "labels": {"a": 1}},
    {"name": "raw", "devices": [{"device": "vda", "format": "raw"}]},
    {"name": "unknown", "devices": [{"device": "vda", "format": "none"}]},
    {"devices": [{"device": "vda", "snapshot_file": "vda.raw"}]},
    {"devices": [{"device": "vda", "snapshot_file": "absent/a"}]},
    {"devices": [{"device": "vda", "snapshot_file": "../a"}]},
    {"devices": [{"device": "vda", "snapshot_file": "a"}, {"device": "vdb", "snapshot_file": "a"}]},
    {"name": "n", "devices": [{"device": "vda"}, {"device": "vdb", "snapshot_file": "sub/" + "x" * 300}]},
    {"devices": [{}]},
    {"devices": [{"device": "vda", "size": 1}]},
]


def files(daemon):
    return checksums(os.path.join(directory, name) for directory, _, names in os.walk(daemon.images) for name in names)


def state(daemon):
    return files(daemon), daemon.list(PATH), daemon.list("/devices"), daemon.get("/events?limit=1000")


def essence(problem):
    """A kept attempt's own path and the id of each request differ."""
    return {key: value for key, value in problem.items() if key not in ("instance", "request_id")}


def plan(daemon, body):
    answer = daemon.request("POST", PATH + "?dry_run=true", body)
    expect(answer.status == 200, "the plan: %s", answer)
    return answer.body


def agrees(daemon, name):
    """The plan, and then the group."""
    body = {"name": name, "devices": [DEVICES[0], {"device": "vdb"}], "labels": {"k": "v"}}
    planned = plan(daemon, body)
    taken = daemon.request("POST", PATH + "?dry_run=false", body).body
    for key in ("name", "kind", "labels"):
        expect(planned[key] == taken[key], "%s: %s is not %s", key, planned, taken)
    expect(planned["members"] == [{key: member[key] for key in planned["members"][0]} for member in taken["members"]],
           "%s is not %s", planned, taken)


def beside_a_group(daemon):
    """While a group is between its steps: its devices are in use; others can be planned, and a
    plan keeps no group from its devices."""
    daemon.close_gate("prepare")
    call = Call(daemon, "POST", PATH, group_body("busy", ["vda"]))
    daemon.await_gate("prepare")
    refused = daemon.request("POST", PATH + "?dry_run=true", group_body("other", ["vda"]))
    expect(refused.status == 409 and refused.body["code"] == "DeviceInUse", "%s", refused)
    plan(daemon, group_body("other", ["vdb"]))
    daemon.open_gate("prepare")
    expect(call.answer().status == 201, "the group: %s", call.result)


def test():
    with GatedDaemon() as daemon:
        os.mkdir(daemon.image("sub"))
        run("truncate", "-s", "1M", daemon.image("ro.raw"))
        daemon.start()
        for name in ("vda", "vdb", "gone"):
            daemon.create_device(name, "raw", 1 << 20)
        daemon.request("POST", "/devices", {"name": "ro", "image": "ro.raw", "format": "raw", "read_only": True})
        daemon.stop()
        os.unlink(daemon.image("gone.raw"))
        daemon.start()
        wait_until(lambda: daemon.get("/events?kind=device.failed")["items"], "the failure to be recorded")
        daemon.snapshot("taken", ["vda"])
        for body in REFUSED:
            before = state(daemon)
            planned = daemon.request("POST", PATH + "?dry_run=true", body)
            expect(state(daemon) == before, "%s has changed something", body)
            real = daemon.request("POST", PATH, body)
            expect(real.status >= 400 and planned.status == real.status and
                   essence(planned.body) == essence(real.body), "%s: %s is not %s", body, planned, real)
        before = state(daemon)
        nameless = plan(daemon, {"devices": DEVICES})
        expect(nameless["name"] is None and nameless["members"][0]["snapshot_file"] is None and
               nameless["members"][1]["snapshot_file"] == daemon.image("sub/b.1"), "%s", nameless)
        expect(state(daemon) == before, "a plan has changed something")
        answer = daemon.request("POST", PATH + "?dry_run=1", {"devices": DEVICES})
        expect(answer.status == 400 and answer.body["code"] == "InvalidParameter", "dry_run=1: %s", answer)
        agrees(daemon, "first")
        agrees(daemon, "second")
        beside_a_group(daemon)


main(test)
