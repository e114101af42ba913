#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# deadline_ms bounds what comes before the point of no return. A group whose storage hangs before
# it: the call ends with 504, the name is free, the devices name their holder; once the storage
# answers, no file is left, the group is aborted, and the same request succeeds. A group that hangs
# after it: 201, however late. Values out of range are refused.
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import STEPS, Call, GatedDaemon
from snapgroupd import Failure, expect, group_body, main, wait_until

BEFORE, AFTER = STEPS[:3], STEPS[3:]
SHORT_MS = 200
LONG_MS = 60000


def ask(daemon, name, devices, deadline_ms):
    return daemon.request("POST", "/snapshot-groups", {**group_body(name, devices), "deadline_ms": deadline_ms})


def hang_before(daemon, step):
    names = daemon.image_names()
    daemon.close_gate(step)
    call, _ = begin_before_deadline(daemon, step)
    answer = call.answer()
    expect(answer.status == 504, "at %s: %s", step, answer)
    expect(answer.body["code"] == "DeadlineExceeded" and answer.body["retryable"], "at %s: %s", step, answer)
    path = answer.body["instance"]
    expect(daemon.request("GET", "/snapshot-groups/" + step).status == 404, "at %s: the name is taken", step)
    if step == "prepare":  # its devices are held
        group = daemon.get(path)
        expect(group["state"] == "aborting" and group["error"]["code"] == "DeadlineExceeded", "%s", group)
        refused = ask(daemon, "other", ["vdb"], LONG_MS)
        expect(refused.status == 409 and refused.body["code"] == "DeviceInUse" and
               group["id"] in refused.body["detail"], "the holder is not named: %s", refused)
    daemon.open_gate(step)
    wait_until(lambda: daemon.request("GET", path).body.get("state") == "aborted", "the end of " + path)
    expect(daemon.get(path)["error"]["code"] == "DeadlineExceeded", "at %s: %s", step, daemon.get(path))
    expect(daemon.image_names() == names, "at %s: left behind: %s", step, daemon.image_names())
    wait_until(lambda: ask(daemon, step, ["vda", "vdb"], LONG_MS).status == 201, "the same request succeeds")


def begin_before_deadline(daemon, step):
    """A call that has come to the step, with a deadline that was long enough for what is before."""
    for doublings in range(9):
        deadline_ms, start = SHORT_MS << doublings, time.monotonic()
        call = Call(daemon, "POST", "/snapshot-groups", {**group_body(step, ["vda", "vdb"]), "deadline_ms": deadline_ms})
        wait_until(lambda: daemon.is_at_gate(step) or not call.is_alive(), "a group at " + step)
        if daemon.is_at_gate(step):
            return call, start + deadline_ms / 1000
        expect(call.answer().body.get("code") in ("DeadlineExceeded", "DeviceInUse"), "at %s: %s", step, call.result)
    raise Failure("no deadline is long enough for " + step)


def hang_after(daemon, step):
    daemon.close_gate(step)
    call, deadline = begin_before_deadline(daemon, step)
    wait_until(lambda: time.monotonic() > deadline + SHORT_MS / 1000, "the deadline passes")
    expect(call.is_alive(), "at %s: answered: %s", step, call.result)
    daemon.open_gate(step)
    answer = call.answer()
    expect(answer.status == 201, "at %s: %s", step, answer)


def test():
    with GatedDaemon() as daemon:
        daemon.start_with({"vda": "raw", "vdb": "qcow2"}, 1 << 20)
        for value in (0, 3600001):
            answer = ask(daemon, "wrong", ["vda"], value)
            expect(answer.status == 422 and answer.body["pointer"] == "/deadline_ms", "%d: %s", value, answer)
        for step in BEFORE:
            hang_before(daemon, step)
        for step in AFTER:
            hang_after(daemon, step)
        groups = daemon.list("/snapshot-groups")
        taken = sorted(group["name"] for group in groups if group["state"] == "committed")
        expect(taken == sorted(STEPS), "committed: %s", taken)


main(test)
