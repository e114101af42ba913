#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The clients that may open a device's exports: given at its creation or attach, replaced or removed
# by a PATCH under the conditions of its ETag, shown by GET and in lists, durable, with an event; a
# list that nobody could satisfy or that is none is refused with its place, and changes nothing.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, run

PATH = "/devices/vda"
REFUSED = [
    ([], "InvalidValue", ""),
    (["c%d" % i for i in range(65)], "InvalidValue", ""),
    (["a", ""], "InvalidValue", "/1"),
    (["x" * 128], "InvalidValue", "/0"),
    (["a", "b", "a"], "InvalidValue", "/2"),
    (["é"], "InvalidValue", "/0"),
    (["a\nb"], "InvalidValue", "/0"),
    (["a", 1], "WrongType", "/1"),
    ([["a"]], "WrongType", "/0"),
    ("a", "WrongType", ""),
    ({"a": "b"}, "WrongType", ""),
]


def patch(daemon, clients, **headers):
    return daemon.request("PATCH", PATH, {"allowed_clients": clients}, **headers)


def shown(daemon, wanted, what):
    device, (item,) = daemon.get(PATH), [one for one in daemon.list("/devices") if one["name"] == "vda"]
    expect(device["allowed_clients"] == item["allowed_clients"] == wanted, "%s: %s", what, device)
    scheme = device["export"]["uri"].split("+")[0]
    expect(scheme == ("nbds" if wanted else "nbd"), "%s: the export is %s", what, device["export"])


def tag(daemon):
    return daemon.request("GET", PATH).headers["ETag"]


def refusals(daemon):
    before = tag(daemon)
    for clients, code, pointer in REFUSED:
        for answer in (patch(daemon, clients),
                       daemon.request("POST", "/devices", {"name": "vdx", "image": "vdx", "format": "raw", "size_bytes": 512,
                                                           "allowed_clients": clients})):
            expect((answer.body["code"], answer.body["pointer"]) == (code, "/allowed_clients" + pointer), "%s: %s", clients, answer)
    expect(tag(daemon) == before and "vdx" not in daemon.image_names(), "a refused list changed something")
    answer = daemon.request("POST", "/devices", {"name": "vdx", "image": "v", "format": "raw", "size_bytes": 512, "allowed_clients": None})
    expect(answer.body["code"] == "WrongType", "null in a POST: %s", answer)


def changes(daemon):
    old = tag(daemon)
    answer = patch(daemon, ["bob", "host.example"], If_Match=old)
    new = answer.headers["ETag"]
    expect(answer.status == 200 and answer.body["allowed_clients"] == ["bob", "host.example"] and new != old, "%s", answer)
    expect(patch(daemon, ["carol"], If_Match=old).status == 412, "an old tag is accepted")
    expect(patch(daemon, ["bob", "host.example"]).headers["ETag"] == new, "no change changes the tag")
    answer = daemon.request("PATCH", PATH, {"labels": {"a": "1"}})
    expect(answer.body["allowed_clients"] == ["bob", "host.example"], "labels alone: %s", answer)
    answer = daemon.request("PATCH", PATH, {"labels": {"x": 1}, "allowed_clients": None})
    expect(answer.status == 400, "half a patch: %s", answer)
    shown(daemon, ["bob", "host.example"], "after half a patch")
    patch(daemon, None)
    shown(daemon, None, "removed")
    patch(daemon, ["alice"], X_Request_Id="the-last")
    shown(daemon, ["alice"], "set again")


def survive(daemon):
    daemon.kill()
    daemon.start()
    shown(daemon, ["alice"], "after a kill")
    kinds = [(event["kind"], event["request_id"]) for event in daemon.get("/events?limit=1000")["items"]]
    expect(("device.updated", "the-last") in kinds, "events: %s", kinds)


def without_tls(daemon):
    arguments, daemon.arguments = daemon.arguments, []
    daemon.restart()
    shown(daemon, ["alice"], "without TLS")
    for answer in (patch(daemon, ["bob"]), daemon.request("POST", "/devices", {
            "name": "vdy", "image": "vdy", "format": "raw", "size_bytes": 512, "allowed_clients": ["bob"]})):
        expect((answer.status, answer.body["code"], answer.body["pointer"]) == (422, "InvalidValue", "/allowed_clients"), "%s", answer)
        expect("--nbd-tls" in answer.body["detail"], "no advice: %s", answer)
    expect(patch(daemon, None).status == 200, "a list cannot be removed without TLS")
    shown(daemon, None, "removed without TLS")
    daemon.arguments = arguments


def test():
    with Daemon() as daemon:
        daemon.add_psk("alice")
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20, allowed_clients=["alice", "x" * 127])
        shown(daemon, ["alice", "x" * 127], "created")
        run("truncate", "-s", "1M", daemon.image("vdb"))
        answer = daemon.request("POST", "/devices", {"name": "vdb", "image": "vdb", "format": "raw", "allowed_clients": ["bob"]})
        expect(answer.status == 201 and answer.body["allowed_clients"] == ["bob"], "attached: %s", answer)
        refusals(daemon)
        changes(daemon)
        survive(daemon)
        without_tls(daemon)


main(test)
