#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A group whose end cannot be recorded, since the state disk is full, is rolled back once there is
# room, and its event is recorded, although nobody calls: the database itself is looked at.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from fullstate import fill_state, free_state, small_state
from gates import Call, GatedDaemon
from snapgroupd import expect, group_body, main, wait_until

MIB = 1 << 20


def recorded(daemon):
    """The state of the group, and the kinds of its events."""
    (state, key), = daemon.recorded("SELECT state, id FROM groups WHERE name = 'g'")
    return state, [kind for kind, in daemon.recorded("SELECT kind FROM events WHERE group_id = ?", key)]


def test():
    with GatedDaemon() as daemon:
        small_state(daemon)
        daemon.start_with({"vda": "qcow2", "vdb": "raw", "other": "raw"}, MIB)
        daemon.close_gate("prepare")
        call = Call(daemon, "POST", "/snapshot-groups", group_body("g", ["vda", "vdb"]))
        daemon.await_gate("prepare")
        fill_state(daemon, "other")
        daemon.open_gate("prepare")
        answer = call.answer()
        expect(answer.status in (503, 507) and answer.body["code"] == "StoreFailed", "%s", answer)
        expect(recorded(daemon)[0] == "preparing", "%s", recorded(daemon))
        free_state(daemon)
        wait_until(lambda: recorded(daemon)[0] == "aborted", "the group to be rolled back")
        expect(recorded(daemon)[1].count("group.aborted") == 1, "%s", recorded(daemon))
        daemon.snapshot("g2", ["vda", "vdb"])
        daemon.stop()


own_mounts()
main(test)
