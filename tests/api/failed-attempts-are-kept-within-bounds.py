#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Of failed attempts the newest 1,000 of the last 30 days are kept; each attempt prunes a few of the
# others. Lists are in the order of the attempts even if the clock was set back in between. Pages of
# large rows end early, and together they are the list. sqlite3 inserts the old rows.
# GET /limits: aborted_group_days.
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, group_body, main

KEPT = 1000
DAY_US = 24 * 3600 * 1000000


def insert(database, sequence, created_at_us, members=0):
    group_id = "00000000-0000-4000-8000-%012d" % sequence
    database.execute("INSERT INTO groups (id, state, name, labels, created_at_us, error_code, error_errnum, "
                     "error_message, sequence) VALUES (?, 'aborted', ?, '{}', ?, 'OpenFileFailed', 0, 'full', ?)",
                     (group_id, "old-%d" % sequence, created_at_us, sequence))
    database.executemany("INSERT INTO members (group_id, position, device, snapshot_file, format) "
                         "VALUES (?, ?, 'vda', ?, 'qcow2')",
                         [(group_id, i, "/" + "x" * 4000) for i in range(members)])


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        now_us = time.time_ns() // 1000
        with daemon.stopped_database() as database:
            for sequence in range(1, 5):
                insert(database, sequence, now_us - 40 * DAY_US)
            for sequence in range(5, 1008):  # each a minute before the one that came before it
                insert(database, sequence, now_us - sequence * 60 * 1000000, 300 if sequence > 997 else 0)
        answer = daemon.request("POST", "/snapshot-groups", group_body("new", ["vda", "none"]))
        expect(answer.status == 404, "a group of a device that is not there: %s", answer)
        page = daemon.get("/snapshot-groups?limit=1000")
        expect(len(page["items"]) < 10 and page["next"], "a large page has %d rows", len(page["items"]))
        groups = daemon.list("/snapshot-groups")
        names = [group["name"] for group in groups]
        wanted = ["new"] + ["old-%d" % sequence for sequence in range(1007, 1007 - KEPT + 1, -1)]
        expect(names == wanted, "%d groups, %s ... %s", len(names), names[:3], names[-3:])


main(test)
