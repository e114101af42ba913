#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A resize that cannot be is refused with a code for each reason, and changes nothing, labels of the
# same patch included; repeated, it succeeds and changes nothing either. Whether it is done is told
# by the device, its tag, an event, a metric and /snapshot-groups, which has no group more.
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import checksums, expect, group_body, main, run, wait_until

MIB = 1 << 20
MAX_BYTES = 1 << 53


def state(daemon):
    files = checksums(os.path.join(directory, name) for directory, _, names in os.walk(daemon.images) for name in names)
    return files, daemon.list("/devices"), daemon.list("/snapshot-groups"), daemon.get("/events?limit=1000")["items"]


def refuse(daemon, name, body, status, code, **more):
    before = state(daemon)
    headers = more.pop("headers", {})
    answer = daemon.request("PATCH", "/devices/" + name, body, **headers)
    expect((answer.status, answer.body["code"]) == (status, code), "%s of %s: %s", body, name, answer)
    for key, value in more.items():
        expect(answer.body.get(key) == value, "%s is not %s: %s", key, value, answer)
    expect(state(daemon) == before, "%s of %s has changed something", body, name)
    return answer


def sizes(daemon):
    daemon.create_device("vda", "qcow2", 2 * MIB, labels={"a": "1"})
    for size_bytes in (0, 1, MIB, 2 * MIB - 512, MAX_BYTES + 1, 1 << 63):
        refuse(daemon, "vda", {"size_bytes": size_bytes, "labels": {"b": "2"}}, 422, "InvalidValue", pointer="/size_bytes")
    for size_bytes in (None, "3", [], {}):
        refuse(daemon, "vda", {"size_bytes": size_bytes}, 400, "WrongType", pointer="/size_bytes")
    refuse(daemon, "vda", {"size_bytes": 3 * MIB, "labels": {"b": "x" * 257}}, 422, "InvalidValue", pointer="/labels/b")
    refuse(daemon, "vda", {"size_bytes": 3 * MIB}, 412, "PreconditionFailed", headers={"If_Match": '"other"'})
    answer = daemon.request("PATCH", "/devices/none", {"size_bytes": 3 * MIB})
    expect((answer.status, answer.body["code"]) == (404, "DeviceNotFound"), "%s", answer)


def metric(daemon):
    text = daemon.request("GET", "/metrics").body
    return int(re.search(r'^snapgroupd_device_size_bytes\{device="vda"\} (\d+)$', text, re.M)[1])


def resized_once(daemon):
    groups = len(daemon.list("/snapshot-groups?state=committed"))
    tag = daemon.request("GET", "/devices/vda").headers["ETag"]
    body = {"size_bytes": 3 * MIB - 511, "labels": {"b": "2"}}
    answer = daemon.request("PATCH", "/devices/vda", body, If_Match=tag)
    expect(answer.status == 200 and answer.body["labels"] == {"a": "1", "b": "2"}, "%s", answer)
    expect(answer.body["size_bytes"] == 3 * MIB and len(answer.body["chain"]) == 2, "%s", answer)
    expect(answer.headers["ETag"] != tag and metric(daemon) == 3 * MIB, "%s %s", answer.headers, metric(daemon))
    expect(answer.body == daemon.get("/devices/vda") == daemon.list("/devices")[0], "%s", daemon.list("/devices"))
    before = state(daemon)
    for repeated in (body, {**body, "size_bytes": 3 * MIB}, {"size_bytes": 3 * MIB}):
        again = daemon.request("PATCH", "/devices/vda", repeated, If_Match=answer.headers["ETag"])
        expect((again.status, again.body) == (200, answer.body), "%s", again)
        expect(again.headers["ETag"] == answer.headers["ETag"], "%s", again.headers)
    expect(state(daemon) == before, "a repeated call has changed something")
    events = daemon.get("/events?kind=device.resized")["items"]
    expect(len(events) == 1, "%s", events)
    detail = events[0]["detail"]
    expect(events[0]["device"] == "vda" and events[0]["actor"] != "snapgroupd" and events[0]["request_id"], "%s", events)
    expect((detail["size_bytes"], detail["previous_size_bytes"]) == (3 * MIB, 2 * MIB), "%s", detail)
    expect(detail["top"] == answer.body["top"], "%s", detail)
    expect(len(daemon.list("/snapshot-groups?state=committed")) == groups, "a group is left")
    text = daemon.request("GET", "/metrics").body
    expect('snapgroupd_groups_total{outcome="committed"} 0' in text or "committed" not in text, "counted as a snapshot")


def of_devices(daemon):
    """One cannot be written, one cannot be opened, the overlay's name of one is not free."""
    run("qemu-img", "create", "-q", "-f", "raw", daemon.image("plain"), str(MIB))
    answer = daemon.request("POST", "/devices", {"name": "plain", "image": "plain", "format": "raw", "read_only": True})
    expect(answer.status == 201, "%s", answer)
    refuse(daemon, "plain", {"size_bytes": 2 * MIB}, 422, "DeviceIsReadOnly", device="plain")
    answer = daemon.request("PATCH", "/devices/plain", {"size_bytes": MIB})
    expect(answer.status == 200, "the size that it has: %s", answer)
    daemon.create_device("gone", "qcow2", MIB)
    daemon.stop()
    os.rename(daemon.image("gone.qcow2"), daemon.image("away"))
    daemon.start()
    wait_until(lambda: daemon.get("/events?kind=device.failed")["items"], "the failure to be an event")
    refuse(daemon, "gone", {"size_bytes": 2 * MIB, "labels": {"a": "1"}}, 409, "DeviceFailed", device="gone")
    os.rename(daemon.image("away"), daemon.image("gone.qcow2"))
    wait_until(lambda: daemon.get("/devices/gone")["state"] == "online", "the image is back")
    answer = daemon.request("PATCH", "/devices/gone", {"size_bytes": 2 * MIB, "labels": {"a": "1"}})
    expect(answer.status == 200 and answer.body["labels"] == {"a": "1"}, "%s", answer)


def races(daemon):
    """With a group under way, and with another resize: who comes later is told who has the device,
    or waits for the name."""
    daemon.close_gate("prepare")
    call = Call(daemon, "POST", "/snapshot-groups", group_body("first", ["vda"]))
    daemon.await_gate("prepare")
    holder = {"kind": "group", "id": daemon.get("/snapshot-groups/first")["id"]}
    answer = daemon.request("PATCH", "/devices/vda", {"size_bytes": 4 * MIB, "labels": {"c": "3"}})
    expect((answer.status, answer.body["code"], answer.body["holder"]) == (409, "DeviceInUse", holder), "%s", answer)
    expect(answer.body["retryable"] and "c" not in daemon.get("/devices/vda")["labels"], "%s", answer)
    daemon.open_gate("prepare")
    expect(call.answer().status == 201, "%s", call.answer())
    daemon.close_gate("prepare")
    call = Call(daemon, "PATCH", "/devices/vda", {"size_bytes": 5 * MIB})
    daemon.await_gate("prepare")
    for method, path, body in (("POST", "/snapshot-groups", group_body("second", ["vda"])),):
        answer = daemon.request(method, path, body)
        expect((answer.status, answer.body["code"]) == (409, "DeviceInUse"), "%s", answer)
    second = Call(daemon, "PATCH", "/devices/vda", {"size_bytes": 4 * MIB})
    expect(daemon.get("/devices/vda")["size_bytes"] == 3 * MIB, "it has grown before the cut")
    daemon.open_gate("prepare")
    expect(call.answer().body["size_bytes"] == 5 * MIB, "%s", call.answer())
    answer = second.answer()
    expect((answer.status, answer.body["code"]) == (422, "InvalidValue"), "the smaller one: %s", answer)


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        sizes(daemon)
        resized_once(daemon)
        of_devices(daemon)
        races(daemon)


main(test)
