#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Of deleted groups the newest 1,000 of the last 30 days are kept; each group that comes prunes a
# few of the others, but not those to which a device or a rollback refers, whose trees stay as they
# are. sqlite3 makes the old rows, and makes old what was deleted now. GET /limits: deleted_groups.
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main

MIB = 1 << 20
DAY_US = 24 * 3600 * 1000000


def insert(database, count, created_at_us):
    first = database.execute("SELECT max(sequence) FROM groups").fetchone()[0] + 1
    for sequence in range(first, first + count):
        database.execute("INSERT INTO groups (id, state, name, labels, created_at_us, sequence) VALUES (?, 'deleted', ?, '{}', "
                         "?, ?)", ("00000000-0000-4000-8000-%012d" % sequence, "old-%d" % sequence, created_at_us, sequence))


def names(daemon):
    """The oldest first."""
    names, cursor = [], ""
    while cursor is not None:
        page = daemon.get("/snapshot-groups?state=deleted&limit=1000" + cursor)
        names += [group["name"] for group in page["items"]]
        cursor = "&cursor=" + page["next"] if page["next"] else None
    return names[::-1]


def test():
    with Daemon() as daemon:
        daemon.start()
        limits = daemon.get("/limits")
        daemon.create_device("vda", "qcow2", MIB)
        for name in ("cloned", "returned", "plain"):
            daemon.snapshot(name, ["vda"])
        body = {"name": "vdb", "from": {"group": "cloned", "device": "vda"}}
        expect(daemon.request("POST", "/devices", body).status == 201, "a clone")
        daemon.roll_back("returned", "safety")
        ids = [daemon.delete_group(name)["group"] for name in ("cloned", "returned", "plain")]
        with daemon.stopped_database() as database:
            insert(database, 4, time.time_ns() // 1000 - 40 * DAY_US)
            insert(database, limits["deleted_groups"], time.time_ns() // 1000)
            database.execute("UPDATE groups SET created_at_us = 1 WHERE state = 'deleted' AND name NOT GLOB 'old-*'")
        daemon.snapshot("another", ["vda"])
        expect(names(daemon)[:3] == ["cloned", "returned", "plain"], "while their jobs are kept: %s", names(daemon)[:8])
        with daemon.stopped_database() as database:
            database.execute("DELETE FROM jobs")
            database.execute("DELETE FROM merges")
        for name in ("next", "last"):
            daemon.snapshot(name, ["vda"])
        kept = names(daemon)
        expect(kept[:2] == ["cloned", "returned"] and "plain" not in kept, "%s", kept[:8])
        expect(len(kept) == limits["deleted_groups"] + 2, "%d are kept: %s", len(kept), kept[:8])
        expect(daemon.get("/devices/vdb")["origin"]["group"] == ids[0], "%s", daemon.get("/devices/vdb"))
        expect(daemon.get("/snapshot-groups/safety")["rolled_back_to"] == ids[1], "the rollback")
        expect(daemon.request("GET", "/snapshot-groups/" + ids[2]).body["code"] == "GroupNotFound", "by id")
        for name in ("safety", "another", "next", "last"):
            daemon.delete_group(name)


main(test)
