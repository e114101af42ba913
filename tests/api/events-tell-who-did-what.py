#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Every change has its event, with who caused it, by which request, and what it was about. The list
# goes on after any id, filtered or not; an id whose successors are not all kept is 410.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main


def events(daemon, query=""):
    return daemon.get("/events" + query)["items"]


def kinds(found):
    return [event["kind"] for event in found]


def check_pages(daemon, whole):
    for limit in (1, 2, 3, len(whole) - 1, len(whole), 1000):
        found, after = [], "0"
        while after:
            page = daemon.get("/events?limit=%d&after=%s" % (limit, after))
            expect(len(page["items"]) == limit or not page["next"], "a page of %d: %s", limit, page)
            found += page["items"]
            after = page["next"]
        expect(found == whole, "pages of %d: %s", limit, found)


def concerns(event, device):
    return event["device"] == device or device in event["detail"].get("devices", [])


def check_filters(daemon, whole, group):
    for query, wanted in (("?kind=group.aborted", [event for event in whole if event["kind"] == "group.aborted"]),
                          ("?device=vda", [event for event in whole if concerns(event, "vda")]),
                          ("?group=" + group["id"], [event for event in whole if event["group"] == group["id"]]),
                          ("?group=" + group["name"], [event for event in whole if event["group"] == group["id"]]),
                          ("?device=vda&kind=device.detached", whole[-1:]),
                          ("?device=none", [])):
        expect(events(daemon, query) == wanted, "%s: %s", query, events(daemon, query))
    for query, status in (("?kind=group.lost", 400), ("?after=-1", 400), ("?after=x", 400), ("?group=none", 404),
                          ("?after=%d" % (whole[-1]["id"] + 1), 410)):
        answer = daemon.request("GET", "/events" + query)
        expect(answer.status == status, "%s: %s", query, answer)


def check_gone(daemon):
    """As if events up to the third one had been pruned."""
    with daemon.stopped_database() as database:
        database.execute("DELETE FROM events WHERE id <= 3")
    expect(events(daemon)[0]["id"] == 4 and events(daemon, "?after=3")[0]["id"] == 4, "after the third one")
    answer = daemon.request("GET", "/events?after=2")
    expect(answer.status == 410 and answer.body["code"] == "EventsGone", "a gap: %s", answer)


def test():
    with Daemon() as daemon:
        daemon.start()
        connection = daemon.connection()
        connection.request("POST", "/devices", '{"name":"vda","image":"a.raw","format":"raw","size_bytes":1048576}',
                           {"Content-Type": "application/json", "X-Request-Id": "make-vda"})
        expect(connection.getresponse().status == 201, "vda")
        connection.close()
        daemon.create_device("vdb", "qcow2", 1 << 20)
        group = daemon.snapshot("g1", ["vda", "vdb"])
        answer = daemon.request("POST", "/snapshot-groups", {"name": "g2", "devices": [{"device": "no"}]})
        expect(answer.status == 404, "%s", answer)
        expect(daemon.request("DELETE", "/devices/vda").status == 204, "vda stays")

        whole = events(daemon)
        expect(kinds(whole) == ["recovery.done", "device.attached", "device.attached", "group.preparing",
                                "group.committed", "group.aborted", "device.detached"], "%s", whole)
        expect([event["id"] for event in whole] == list(range(1, 8)), "ids: %s", whole)
        expect(whole[0]["actor"] == "snapgroupd" and whole[0]["request_id"] is None, "%s", whole[0])
        expect(all(event["actor"] == "uid %d" % os.getuid() and event["request_id"] for event in whole[1:]),
               "actors: %s", whole)
        expect(whole[1]["request_id"] == "make-vda" and whole[1]["device"] == "vda" and
               whole[1]["detail"]["image"] == daemon.image("a.raw"), "%s", whole[1])
        expect(whole[4]["group"] == group["id"] and whole[4]["detail"] == {"name": "g1", "kind": "snapshot", "devices": ["vda", "vdb"]},
               "%s", whole[4])
        expect(whole[3]["request_id"] == whole[4]["request_id"], "one request: %s", whole)
        expect(whole[5]["detail"]["code"] == "DeviceNotFound" and whole[5]["detail"]["devices"] == ["no"],
               "%s", whole[5])
        check_pages(daemon, whole)
        check_filters(daemon, whole, group)
        check_gone(daemon)


main(test)
