#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Pages of any size, put together, are the whole list: devices by name, groups newest first. A
# cursor stays valid while items are added and deleted.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main


def pages(connection, path, query, limit):
    """The names on each page."""
    found, cursor = [], ""
    while True:
        answer = connection.ask("GET", "%s?limit=%d%s%s" % (path, limit, query, cursor))
        expect(answer.status == 200, "%s: %s", path, answer)
        expect(set(answer.body) == {"items", "next"}, "%s: %s", path, answer)
        found.append([item["name"] for item in answer.body["items"]])
        expect(len(found) < 20, "the pages do not end: %s", found)
        if not answer.body["next"]:
            return found
        cursor = "&cursor=" + answer.body["next"]


def check_pages(connection, path, query, whole):
    for limit in (1, 2, 3, 4, 5, 10, 11, 1000):
        wanted = [whole[i:i + limit] for i in range(0, len(whole), limit)] or [[]]
        found = pages(connection, path, query, limit)
        expect(found == wanted, "%s%s by %d: %s", path, query, limit, found)


def test():
    with Daemon() as daemon:
        daemon.start()
        connection = daemon.connection()
        for i in (3, 1, 5, 2, 4):
            daemon.create_device("d%d" % i, "qcow2", 1 << 20)
        for i in range(1, 6):
            daemon.snapshot("g%d" % i, ["d%d" % i])
            answer = connection.ask("POST", "/snapshot-groups", {"name": "bad%d" % i, "devices": [{"device": "no"}]})
            expect(answer.status == 404, "%s", answer)
        check_pages(connection, "/devices", "", ["d%d" % i for i in range(1, 6)])
        groups = [name % i for i in range(5, 0, -1) for name in ("bad%d", "g%d")]
        check_pages(connection, "/snapshot-groups", "", groups)
        check_pages(connection, "/snapshot-groups", "&state=committed", groups[1::2])
        check_pages(connection, "/snapshot-groups", "&state=aborted", groups[0::2])
        check_pages(connection, "/snapshot-groups", "&state=preparing", [])

        cursor = connection.ask("GET", "/devices?limit=2").body["next"]
        expect(connection.ask("DELETE", "/devices/d2").status == 204, "d2 stays")
        daemon.create_device("d0", "raw", 1 << 20)
        answer = connection.ask("GET", "/devices?limit=2&cursor=" + cursor)
        expect([item["name"] for item in answer.body["items"]] == ["d3", "d4"], "going on: %s", answer)
        connection.close()


main(test)
