#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 1800
#
# With 1,000,000 groups in the store a page of GET /snapshot-groups takes at most 10 ms at any
# depth, with any filter and with filters that hardly a group has; a name, an id and /metrics are as
# quick, and so is a page of /events with as many rows. A new group takes about as long as in an
# empty store. The median of several calls counts, as the machine does other work too.
import os
import sqlite3
import statistics
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main

COUNT = 1000000
FILL = """
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < %d)
INSERT INTO groups (id, state, name, labels, created_at_us, cut_at_us, pause_us, duration_us, sequence)
SELECT printf('%%08x-0000-4000-8000-000000000000', n), CASE WHEN n %% 1000 THEN 'committed' ELSE 'aborted' END,
    'g' || n, json_object('app', 'a' || (n %% 10), 'half', iif(n <= %d, 'old', 'new'), 'one', iif(n = 5, 'yes', 'no')),
    1700000000000000 + n * 1000000, 1700000000000000 + n * 1000000, 5, 1000, n FROM number
""" % (COUNT, COUNT // 2)
MEMBERS = """
INSERT INTO members (group_id, position, device, backing_file, backing_format, snapshot_file, format)
SELECT id, 0, 'd' || (sequence %% 7), NULL, NULL, '/i/' || sequence, 'qcow2' FROM groups WHERE sequence <= %d
""" % COUNT
EVENTS = """
INSERT INTO events (at_us, kind, device, group_id, actor, detail)
SELECT created_at_us, iif(sequence %% 2, 'group.committed', 'device.updated'), iif(sequence %% 2, NULL, 'd' || (sequence %% 7)),
    iif(sequence %% 2, id, NULL), 'uid 0', iif(sequence %% 2, json_object('devices', json_array('d' || (sequence %% 7))), '{}')
FROM groups WHERE sequence <= %d ORDER BY sequence
""" % COUNT
EVENT_FILTERS = ["", "&kind=group.committed", "&kind=device.failed", "&device=d3", "&device=d3&kind=device.failed",
                 "&device=none", "&group=00000005-0000-4000-8000-000000000000"]
FILTERS = ["", "state=aborted", "label=app%3Da3", "device=d3", "label=app%3Da3&device=d3&state=committed",
           "label=half%3Dold", "label=one%3Dyes", "label=app%3Da3&label=half%3Dold", "label=half%3Dold&label=half%3Dnew",
           "created_before=2023-11-20T00:00:00Z", "created_after=2023-11-25T00:00:00Z",
           "created_after=2023-11-15T00:00:00Z&created_before=2023-11-16T00:00:00Z&label=app%3Da3", "name=g7", "name=no"]


def fill(daemon):
    with sqlite3.connect(os.path.join(daemon.state, "snapgroupd.db")) as database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute("DELETE FROM groups")  # whose numbers the new ones take
        database.execute("PRAGMA cache_size = -400000")
        database.execute(FILL)
        database.execute(MEMBERS)
        database.execute(EVENTS)
    database.close()


def median_ms(connection, path):
    taken = []
    for _ in range(7):
        start = time.monotonic()
        answer = connection.ask("GET", path)
        taken.append((time.monotonic() - start) * 1000)
        expect(answer.status == 200, "%s: %s", path, answer)
    return statistics.median(taken), answer.body


def walk(connection, filters):
    """Pages at growing depth: each the tenth after the one before it."""
    cursor, slowest = "", 0
    for page in range(60):
        path = "/snapshot-groups?limit=100" + ("&" if filters else "") + filters + cursor
        if page % 10 == 0:
            taken, body = median_ms(connection, path)
            slowest = max(slowest, taken)
        else:
            body = connection.ask("GET", path).body
        if not body["next"]:
            break
        cursor = "&cursor=" + body["next"]
    return slowest


def deep(connection):
    """The depth is that of the whole table: pages of 1,000, some of which are timed by 100."""
    cursor, seen, slowest = "", 0, 0
    while True:
        path = "/snapshot-groups?limit=1000" + cursor
        if seen % 100000 < 1000:
            slowest = max(slowest, median_ms(connection, path.replace("1000", "100", 1))[0])
        body = connection.ask("GET", path).body
        seen += len(body["items"])
        if not body["next"]:
            return seen, slowest
        cursor = "&cursor=" + body["next"]


def new_group_ms(daemon, name):
    taken = []
    for number in range(7):
        start = time.monotonic()
        daemon.snapshot("%s%d" % (name, number), ["vda"])
        taken.append((time.monotonic() - start) * 1000)
    return statistics.median(taken), max(taken)


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        before = new_group_ms(daemon, "before")
        daemon.stop()
        fill(daemon)
        daemon.start()
        connection = daemon.connection()
        timed = {filters: walk(connection, filters) for filters in FILTERS}
        seen, timed["all"] = deep(connection)
        for filters in EVENT_FILTERS:
            for after in (0, COUNT // 2, COUNT - 200):
                path = "/events?limit=100&after=%d%s" % (after, filters)
                timed[path] = median_ms(connection, path)[0]
        for path in ("/snapshot-groups/g5", "/snapshot-groups/00000005-0000-4000-8000-000000000000", "/metrics"):
            timed[path] = median_ms(connection, path)[0]
        for name, taken in timed.items():
            print("%7.2f ms  %s" % (taken, name))
        expect(seen == COUNT, "%d groups were listed", seen)
        expect(max(timed.values()) <= 10, "too slow: %s", {name: taken for name, taken in timed.items() if taken > 10})
        after = new_group_ms(daemon, "after")
        print("a new group: median and longest %.1f and %.1f ms with few rows, %.1f and %.1f ms with many" % (before + after))
        expect(after[0] <= 3 * before[0] + 20 and after[1] <= 5 * before[1] + 50, "a new group: %s, then %s", before, after)


main(test)
