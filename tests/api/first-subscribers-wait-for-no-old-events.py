#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The first subscriber of a daemon that has many events, and the first after many came without any,
# get the next event without that all earlier ones are read. What they cost is the processor time of
# the thread that serves them.
import contextlib
import os
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main

COUNT = 200000
FILL = """WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
INSERT INTO events (at_us, kind, device, actor, detail)
SELECT strftime('%s') * 1000000, 'device.updated', 'vda', 'uid 0', '{}' FROM number"""
TICKS_MAX = 15  # of 10 ms; all events take about 50 of them, the latest 256 one or none


def ticks(daemon):
    """The processor time of the subscribers' thread."""
    tasks = "/proc/%d/task" % daemon.pid
    for task in os.listdir(tasks):
        with open("%s/%s/stat" % (tasks, task)) as stat:
            name, rest = stat.read().rsplit(")", 1)
        if name.endswith("(http-events"):
            return sum(map(int, rest.split()[11:13]))
    return 0  # it has not given itself its name yet


def subscribe(daemon, number):
    """Returns how much the next event costs."""
    before = ticks(daemon)
    connection = daemon.connection()
    connection.request("GET", "/events", headers={"Accept": "text/event-stream"})
    stream = connection.getresponse()
    answer = daemon.request("PATCH", "/devices/vda", {"labels": {"number": str(number)}})
    expect((stream.status, answer.status) == (200, 200), "%d, %s", stream.status, answer)
    while stream.fp.readline() != b"event: device.updated\n":
        pass
    connection.close()
    return ticks(daemon) - before


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        with daemon.stopped_database() as database:
            database.execute(FILL, (COUNT,))
        cost = [subscribe(daemon, 0)]
        with contextlib.closing(sqlite3.connect(os.path.join(daemon.state, "snapgroupd.db"))) as database, database:
            database.execute(FILL, (COUNT,))
        cost.append(subscribe(daemon, 1))
        expect(max(cost) <= TICKS_MAX, "%s ticks", cost)


main(test)
