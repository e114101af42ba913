#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The exports of a group go with it and do not come back: not if it is deleted by several calls at
# once, nor by a call that the store refuses after an earlier delete was cancelled; they are there
# before the group may be deleted. A delete that is refused leaves them as they were, in the order
# in which the groups were taken.
import contextlib
import os
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import nbd
from gates import Call, GatedDaemon
from snapgroupd import at_once, expect, main, wait_until

NAMES = ("vda", "vdb")
CALLS = 8


def listed(daemon, ask):
    handle, found = nbd.NBD(), []
    handle.set_opt_mode(True)
    handle.connect_unix(os.path.join(daemon.runtime, "nbd.sock"))
    ask(handle, lambda name, *_: found.append(name) and 0)
    handle.opt_abort()
    return found


def exports(daemon):
    return sorted(listed(daemon, lambda handle, note: handle.opt_list(note)))


def older_groups(daemon, export):
    def ask(handle, note):
        handle.set_export_name(export)
        handle.add_meta_context("qemu:dirty-bitmap:")
        handle.opt_list_meta_context(note)
    return [name.split(":")[2] for name in listed(daemon, ask)]


def a_group_that_ends(daemon):
    daemon.close_gate("committed")
    call = Call(daemon, "POST", "/snapshot-groups", {"name": "first", "devices": [{"device": name} for name in NAMES]})
    daemon.await_gate("committed")
    answer = daemon.request("DELETE", "/snapshot-groups/first")
    expect((answer.status, answer.body["code"]) == (409, "DeviceInUse"), "%s", answer)
    expect(exports(daemon) == ["vda", "vda@first", "vdb", "vdb@first"], "%s", exports(daemon))
    daemon.open_gate("committed")
    expect(call.answer().status == 201, "the group")


def several_calls_at_once(daemon):
    connections = [daemon.connection() for _ in range(CALLS)]
    answers = at_once(*[lambda each=each: each.ask("DELETE", "/snapshot-groups/first") for each in connections])
    expect(all(answer.status in (202, 404) for answer in answers), "%s", [str(answer) for answer in answers])
    jobs = {answer.body["id"] for answer in answers if answer.status == 202}
    expect(len(jobs) == 1, "%s", jobs)
    wait_until(lambda: daemon.get("/jobs/" + jobs.copy().pop())["state"] == "done", "the job")
    expect(exports(daemon) == list(NAMES), "%s", exports(daemon))


def a_refused_call(daemon):
    daemon.snapshot("monday", NAMES)
    daemon.snapshot("tuesday", NAMES)
    before = exports(daemon)
    reader = daemon.nbd("vdb@monday")
    answer = daemon.request("DELETE", "/snapshot-groups/monday")
    expect(answer.status == 409, "%s", answer)
    reader.shutdown()
    expect(exports(daemon) == before, "%s", exports(daemon))
    for name in NAMES:
        expect(older_groups(daemon, name + "@tuesday") == ["monday"], "%s: monday is older", name)
        expect(older_groups(daemon, name + "@monday") == [], "%s: tuesday is not", name)


def a_call_that_the_store_refuses(daemon):
    daemon.close_gate("prepare")
    job = daemon.request("DELETE", "/snapshot-groups/tuesday").body["id"]
    daemon.await_gate("prepare")
    answer = daemon.request("PATCH", "/jobs/" + job, {"state": "cancelled"})
    expect(answer.status == 200, "%s", answer)
    daemon.open_gate("prepare")
    left = exports(daemon)
    expect(left == ["vda", "vda@monday", "vdb", "vdb@monday"], "%s", left)
    with contextlib.closing(sqlite3.connect(os.path.join(daemon.state, "snapgroupd.db"), isolation_level=None)) as other:
        wait_until(lambda: daemon.get("/snapshot-groups/tuesday")["state"] == "deleting", "the group")
        other.execute("BEGIN IMMEDIATE")
        answer = daemon.request("DELETE", "/snapshot-groups/tuesday")
        expect(answer.status == 503, "%s", answer)
        other.execute("ROLLBACK")
    expect(exports(daemon) == left, "%s", exports(daemon))


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        for name in NAMES:
            daemon.create_device(name, "qcow2", 1 << 20)
        a_group_that_ends(daemon)
        several_calls_at_once(daemon)
        a_refused_call(daemon)
        a_call_that_the_store_refuses(daemon)


main(test)
