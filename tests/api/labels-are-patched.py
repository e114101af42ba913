#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A merge patch (RFC 7396) of the labels of a device or a group: strings set, null removes, all else
# stays; the rules of labels hold for what follows; a patch that is refused changes nothing. It is
# durable, and has its event.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main

FULL = {"k%d" % i: "v" for i in range(64)}
STEPS = [  # patch of the labels, what follows; or the code and pointer of a refusal
    ({"b": "2"}, {"a": "1", "b": "2"}),
    ({}, {"a": "1", "b": "2"}),
    ({"a": None, "none": None}, {"b": "2"}),
    ({"B": "3", "b": "", "ü/~": "x"}, {"B": "3", "b": "", "ü/~": "x"}),
    ({"ü/~": None, "b": None}, {"B": "3"}),
    ({"x": 1}, ("WrongType", "/labels/x")),
    ({"x": {}}, ("WrongType", "/labels/x")),
    ({"x/y": ["z"]}, ("WrongType", "/labels/x~1y")),
    ({"x": "v" * 257}, ("InvalidValue", "/labels/x")),
    ({"k" * 257: "v"}, ("InvalidValue", "/labels/" + "k" * 257)),
    (FULL, ("InvalidValue", "/labels")),
    ({**FULL, "B": None}, FULL),
    ({"one": "more"}, ("InvalidValue", "/labels")),
    ({"one": "more", "k0": None}, {**{key: FULL[key] for key in FULL if key != "k0"}, "one": "more"}),
    (None, {}),
]


def steps(daemon, path, collection):
    labels = {"a": "1"}
    for patch, wanted in STEPS:
        answer = daemon.request("PATCH", path, {"labels": patch})
        if isinstance(wanted, tuple):
            expect((answer.body["code"], answer.body["pointer"]) == wanted, "%s %s: %s", path, patch, answer)
        else:
            labels = wanted
            expect(answer.status == 200 and answer.body["labels"] == labels, "%s %s: %s", path, patch, answer)
        expect(daemon.get(path)["labels"] == labels, "%s %s", path, patch)
        expect(daemon.get(collection)["items"][0]["labels"] == labels, "%s, listed: %s", path, patch)


def refused_by_name(daemon, path):
    for body, code, pointer in (({"format": "raw"}, "UnknownField", "/format"), ([], "WrongType", ""),
                                ({"labels": "x"}, "WrongType", "/labels"), ({"labels": []}, "WrongType", "/labels")):
        answer = daemon.request("PATCH", path, body)
        expect((answer.status, answer.body["code"], answer.body["pointer"]) == (400, code, pointer), "%s: %s", body, answer)
    for kind in ("application/json", "application/json-patch+json", "text/plain"):
        answer = daemon.request("PATCH", path, {}, Content_Type=kind)
        expect(answer.status == 415 and answer.headers["Accept-Patch"] == "application/merge-patch+json", "%s: %s", kind, answer)
    answer = daemon.request("PATCH", path)
    expect(answer.status == 415, "no body: %s", answer)


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20, labels={"a": "1"})
        answer = daemon.request("POST", "/snapshot-groups", {"name": "g", "devices": [{"device": "vda"}], "labels": {"a": "1"}})
        expect(answer.status == 201, "%s", answer)
        for path, collection in (("/devices/vda", "/devices"), ("/snapshot-groups/g", "/snapshot-groups")):
            steps(daemon, path, collection)
            refused_by_name(daemon, path)
        daemon.request("PATCH", "/snapshot-groups/" + answer.body["id"], {"labels": {"by": "id"}})
        daemon.request("PATCH", "/devices/vda", {"labels": {"last": "x"}}, X_Request_Id="the-last")
        daemon.kill()
        daemon.start()
        expect(daemon.get("/devices/vda")["labels"] == {"last": "x"}, "the device's labels are lost")
        expect(daemon.get("/snapshot-groups/g")["labels"] == {"by": "id"}, "the group's labels are lost")
        kinds = [(event["kind"], event["request_id"]) for event in daemon.get("/events?limit=1000")["items"]]
        expect(("device.updated", "the-last") in kinds, "events: %s", kinds)
        expect("group.updated" in dict(kinds), "events: %s", kinds)


main(test)
