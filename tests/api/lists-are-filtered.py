#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Filters of lists, alone and combined, page by page, have exactly what a search through the whole
# list has; also after labels were patched, groups were pruned or the clock was set back. A cursor
# is refused with other filters, and goes on where it was after inserts and deletes.
import itertools
import os
import random
import sqlite3
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main

LABELS = [{}, {"app": "db"}, {"app": "db", "tier": "1"}, {"app": "web", "tier": "1"}, {"a,\"b": "c\\\"=,", "": ""}]


def whole(daemon, path, filters, limit=1000):
    items, cursor = [], []
    while True:
        query = urllib.parse.urlencode(filters + cursor + [("limit", limit)])
        page = daemon.get(path + "?" + query)
        expect(len(page["items"]) <= limit, "%s: %d items", query, len(page["items"]))
        items += [item["name"] + item.get("id", "") for item in page["items"]]
        if not page["next"]:
            return items
        cursor = [("cursor", page["next"])]


def matches(item, filters):
    for name, value in filters:
        if name == "label":
            key, _, text = value.partition("=")
            good = item["labels"].get(key) == text
        elif name == "device":
            good = any(member["device"] == value for member in item["members"])
        elif name.startswith("created"):
            good = item["created_at"] > value if name == "created_after" else item["created_at"] < value
        else:
            good = item[name] == value
        if not good:
            return False
    return True


def check(daemon, path, choices):
    everything = daemon.list(path)
    combined = list(itertools.product(*choices))
    for filters in combined if len(combined) <= 300 else random.Random(1).sample(combined, 300):
        filters = [entry for entry in filters if entry]
        wanted = [item["name"] + item.get("id", "") for item in everything if matches(item, filters)]
        for limit in (3, 1000):
            found = whole(daemon, path, filters, limit)
            expect(found == wanted, "%s %s by %d: %s, not %s", path, filters, limit, found, wanted)


def group_choices(items):
    times = sorted(item["created_at"] for item in items)
    return [[None] + [("label", text) for text in ("app=db", "app=none", "a,\"b=c\\\"=,", "=")],
            [None, ("label", "tier=1")], [None, ("state", "committed"), ("state", "aborted")],
            [None, ("device", "vda"), ("device", "vdb"), ("device", "no")], [None, ("name", "g1"), ("name", "same")],
            [None, ("created_after", times[len(times) // 3]), ("created_after", times[-1])],
            [None, ("created_before", times[2 * len(times) // 3]), ("created_before", times[0])]]


def refusals(daemon):
    cursor = daemon.get("/snapshot-groups?limit=2&label=app%3Ddb&state=committed")["next"]
    expect(cursor, "one page only")
    daemon.get("/snapshot-groups?state=committed&label=app%3Ddb&limit=3&cursor=" + cursor)
    device = daemon.get("/devices?limit=1")["next"]
    for query in ("/snapshot-groups?cursor=" + cursor, "/snapshot-groups?label=app%3Ddb&cursor=" + cursor,
                  "/snapshot-groups?label=app%3Dweb&state=committed&cursor=" + cursor, "/devices?cursor=" + cursor,
                  "/devices?state=online&cursor=" + device, "/snapshot-groups?cursor=" + device, "/devices?cursor=vda",
                  "/devices?label=x", "/devices?state=committed", "/devices?name=a&name=b", "/devices?device=vda",
                  "/snapshot-groups?created_after=yesterday", "/snapshot-groups?created_before=",
                  "/snapshot-groups?" + "&".join(["label=a%3Db"] * 9)):
        answer = daemon.request("GET", query)
        expect((answer.status, answer.body["code"]) == (400, "InvalidParameter"), "%s: %s", query, answer)


def set_back(daemon):
    """As if the clock had been set back in the middle of the history."""
    daemon.stop()
    with sqlite3.connect(os.path.join(daemon.state, "snapgroupd.db")) as database:
        middle = database.execute("SELECT max(sequence) / 2 FROM groups").fetchone()[0]
        database.execute("UPDATE groups SET created_at_us = created_at_us - 3600000000 WHERE sequence > ?", (middle,))
        database.execute("UPDATE groups SET is_late = 1 WHERE sequence > ?", (middle,))
    database.close()
    daemon.start()


def test():
    chance = random.Random(7)
    with Daemon() as daemon:
        daemon.start()
        for i, name in enumerate(("vda", "vdb", "vdc")):
            daemon.create_device(name, "qcow2", 1 << 20, labels=LABELS[i])
        for i in range(12):
            devices = chance.sample(["vda", "vdb", "vdc"], 2)
            answer = daemon.request("POST", "/snapshot-groups", {
                "name": "g%d" % i, "devices": [{"device": device} for device in devices], "labels": chance.choice(LABELS)})
            expect(answer.status == 201, "%s", answer)
            daemon.request("POST", "/snapshot-groups", {
                "name": "same", "devices": [{"device": "vda"}, {"device": "no"}], "labels": chance.choice(LABELS)})
        check(daemon, "/snapshot-groups", group_choices(daemon.list("/snapshot-groups")))
        check(daemon, "/devices", [[None, ("state", "online"), ("state", "failed")], [None, ("name", "vdb"), ("name", "x")],
                                   [None, ("label", "app=db"), ("label", "tier=1"), ("label", "app=x")]])
        for i in range(0, 12, 3):
            daemon.request("PATCH", "/snapshot-groups/g%d" % i, {"labels": {"app": "db", "tier": None}})
        daemon.request("PATCH", "/devices/vdc", {"labels": LABELS[4]})
        refusals(daemon)
        cursor = daemon.get("/snapshot-groups?limit=5")
        wanted = [item["id"] for item in daemon.get("/snapshot-groups?limit=1000")["items"][5:]]
        daemon.snapshot("later", ["vda"])
        found = daemon.get("/snapshot-groups?limit=1000&cursor=" + cursor["next"])["items"]
        expect([item["id"] for item in found] == wanted, "going on after an insert")
        set_back(daemon)
        check(daemon, "/snapshot-groups", group_choices(daemon.list("/snapshot-groups")))
        check(daemon, "/devices", [[None, ("label", "a,\"b=c\\\"=,"), ("label", "=")]])


main(test)
