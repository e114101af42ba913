#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 1800
#
# With 1,000,000 events in the store, as many as are kept, a page of GET /events takes at most 10 ms
# at any depth, with any filter, any two, and with filters that hardly an event has, or none.
import http.client
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from pages import COUNT, fill, judge, fastest_ms
from snapgroupd import Daemon, expect, main

# Half are of groups of two devices, and half of those of one group; the others are of the devices
# d0 to d6. d7 has one, and each thousandth is of a token.
FILL = """
WITH RECURSIVE number(n) AS (SELECT (SELECT max(id) FROM events) + 1 UNION ALL SELECT n + 1 FROM number WHERE n < %d)
INSERT INTO events (id, at_us, kind, device, group_id, actor, request_id, detail)
SELECT n, strftime('%%s') * 1000000 - %d + n,
    CASE WHEN n %% 2 THEN 'group.updated' WHEN n %% 1000 = 0 THEN 'token.created'
         WHEN n %% 7 < 3 THEN 'device.updated' WHEN n %% 4 THEN 'device.attached' ELSE 'device.detached' END,
    CASE WHEN n %% 2 OR n %% 1000 = 0 THEN NULL WHEN n = 500002 THEN 'd7' ELSE 'd' || (n %% 7) END,
    CASE WHEN n %% 4 = 1 THEN '00000000-0000-4000-8000-000000000000'
         WHEN n %% 4 = 3 THEN printf('%%08x-0000-4000-8000-000000000000', n / 8) END,
    'uid 0', 'request-' || n, iif(n %% 2, json_object('name', 'g' || (n / 8), 'devices', json_array('d' || (n %% 7), 'd' || ((n + 1) %% 7))),
        json_object('id', n, 'image', '/images/' || n))
FROM number
""" % (COUNT, COUNT)
GROUP = "00000000-0000-4000-8000-000000000000"
FEW = "00000005" + GROUP[8:]
FILTERS = ("", "kind=group.updated", "kind=token.created", "kind=device.failed", "device=d3", "device=d7", "device=none",
           "group=" + GROUP, "group=" + FEW, "group=ffffffff" + GROUP[8:],
           "device=d3&kind=device.updated", "device=d3&kind=device.failed", "device=d3&kind=token.created",
           "device=d3&kind=group.updated", "device=d7&kind=device.updated", "device=d7&kind=group.updated",
           "device=none&kind=group.updated", "group=%s&kind=group.updated" % GROUP,
           "group=%s&kind=group.committed" % GROUP, "group=%s&kind=device.updated" % GROUP,
           "group=%s&device=d3" % GROUP, "group=%s&device=d3" % FEW, "group=%s&device=d7" % FEW,
           "group=%s&device=d3&kind=group.updated" % GROUP, "group=%s&device=d3&kind=group.updated" % FEW)
DEPTHS = [COUNT * tenth // 10 for tenth in range(10)] + [COUNT - 50, COUNT]


def walk(connection, filters):
    """The slowest of the pages from each depth."""
    return max(fastest_ms(connection, "/events?limit=100&after=%d%s" % (after, filters and "&" + filters))[0]
               for after in DEPTHS)


def deep(connection):
    """The whole table in pages of 1,000; some are timed by 100."""
    after, seen, slowest = "0", 0, 0
    while after:
        if seen % 100000 < 1000:
            slowest = max(slowest, fastest_ms(connection, "/events?limit=100&after=" + after)[0])
        page = connection.ask("GET", "/events?limit=1000&after=" + after).body
        seen, after = seen + len(page["items"]), page["next"]
    return seen, slowest


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        daemon.stop()
        fill(daemon, FILL)
        daemon.start()
        connection = daemon.connection()
        connection.response_class = http.client.HTTPResponse  # too many to compare each
        timed = {filters or "all": walk(connection, filters) for filters in FILTERS}
        seen, timed["one page after the other"] = deep(connection)
        expect(seen >= COUNT, "%d events were listed", seen)
        judge(timed)
        start = time.monotonic()
        daemon.snapshot("new", ["vda"])
        print("%7.2f ms  a new group" % ((time.monotonic() - start) * 1000))


main(test)
