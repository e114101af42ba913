#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A write that was in flight at the cut of three disks and does not end: after settle_ms the call
# gets 202, state `cut`. The other two disks are settled, exported and free: one is in the next
# group, one is detached. The slow one says what it waits for, and is in use by its group. A
# repeated key gets the answer of now, lists and events agree. When the write ends the group is
# committed, with that write.
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from cutgates import BLOCK, SIZE_BYTES, CutDaemon, Request, held, held_write, unequal
from snapgroupd import expect, group_body, main, wait_until

SETTLE_MS = 300
MAX_MS = 600000
CHANGE = "change-a.qcow2-0"


def ask(daemon, name, devices, settle_ms, **headers):
    return daemon.request("POST", "/snapshot-groups", {**group_body(name, devices), "settle_ms": settle_ms}, **headers)


def member(group, device):
    return next(member for member in group["members"] if member["device"] == device)


def names(daemon, state):
    return [group["name"] for group in daemon.get("/snapshot-groups?state=" + state)["items"]]


def kinds(daemon, group):
    return [event["kind"] for event in daemon.get("/events?group=" + group["id"])["items"]]


def is_cut(answer, devices):
    group = answer.body
    expect(answer.status == 202 and group["state"] == "cut" and group["cut_at"], "%s", answer)
    expect(answer.headers["Location"] == "/snapshot-groups/" + group["id"], "%s", answer.headers)
    expect(not answer.headers["ETag"] and group["error"] is None, "%s", answer)
    expect(group["sealed_us"] is None and group["consistency"]["achieved"] == "crash", "%s", group)
    expect([member["device"] for member in group["members"]] == devices, "%s", group)
    return group


def slow_member_waits(slow):
    expect(slow["state"] == "cut" and slow["ready_to_use"] is False and slow["copy_wait_us"] is None, "%s", slow)
    waiting = slow["waiting_for"]
    expect(waiting["changes"] == 1 and not waiting["flush"], "%s", waiting)
    expect(waiting["oldest_ms"] >= SETTLE_MS - 1, "%s", waiting)


def others_are_free(daemon, group):
    for device in ("b", "c"):
        settled = wait_until(lambda: (lambda now: now["state"] == "committed" and now)(
            member(daemon.get("/snapshot-groups/g"), device)), device + " is settled")
        expect(settled["ready_to_use"] and settled["waiting_for"] is None and settled["pause_us"] == 0, "%s", settled)
        expect(not unequal(device, daemon.read(device + "@g", 0), bytes(BLOCK)), "%s@g", device)
    daemon.snapshot("of-b", ["b"])
    answer = daemon.request("DELETE", "/devices/c")
    expect(answer.status == 204, "the detach of c: %s", answer)
    for method, path, body in (("POST", "/snapshot-groups", group_body("of-a", ["a"])), ("DELETE", "/devices/a", None)):
        answer = daemon.request(method, path, body)
        expect(answer.status == 409 and answer.body["code"] == "DeviceInUse", "%s %s: %s", method, path, answer)
        expect(method == "DELETE" or answer.body["holder"] == {"kind": "group", "id": group["id"]}, "%s", answer)
    expect(daemon.get("/devices/a")["state"] == "online", "a")
    Request(daemon, "a", "pwrite", BLOCK * b"3", BLOCK).await_answer()
    expect(not unequal("a", daemon.read("a", BLOCK), BLOCK * b"3"), "a does not go on")


def all_agree_on_cut(daemon, group, key):
    again = ask(daemon, "g", ["a", "b", "c"], SETTLE_MS, Idempotency_Key=key)
    expect(again.headers["Idempotency-Replayed"] == "true", "%s", again.headers)
    slow_member_waits(member(is_cut(again, ["a", "b", "c"]), "a"))
    taken = daemon.request("POST", "/snapshot-groups", group_body("g", ["b"]))
    expect(taken.status == 409 and taken.body["code"] == "GroupExists", "%s", taken)
    expect(names(daemon, "cut") == ["g"] and names(daemon, "committing") == [], "lists by state")
    expect("g" not in names(daemon, "committed") and names(daemon, "cut&device=a") == ["g"], "lists by state")
    listed = daemon.get("/snapshot-groups?name=g")["items"][0]
    expect(listed["state"] == "cut", "%s", listed)
    slow_member_waits(member(listed, "a"))
    expect(kinds(daemon, group) == ["group.preparing", "group.cut"], "%s", kinds(daemon, group))
    patched = daemon.request("PATCH", "/snapshot-groups/g", {"labels": {"k": "v"}})
    expect(patched.status == 200 and patched.body["state"] == "cut", "%s", patched)


def ends(daemon, group, key):
    daemon.open_gate(CHANGE)
    now = wait_until(lambda: (lambda now: now["state"] == "committed" and now)(daemon.get("/snapshot-groups/g")), "the end")
    expect(now["cut_at"] == group["cut_at"] and now["labels"] == {"k": "v"}, "%s", now)
    expect(now["sealed_us"] >= SETTLE_MS * 1000 and now["duration_us"] >= now["sealed_us"], "%s", now)
    for each in now["members"]:
        expect(each["state"] == "committed" and each["waiting_for"] is None and each["ready_to_use"], "%s", each)
    expect(kinds(daemon, group) == ["group.preparing", "group.cut", "group.committed", "group.updated"] or
           kinds(daemon, group) == ["group.preparing", "group.cut", "group.updated", "group.committed"], "%s", kinds(daemon, group))
    again = ask(daemon, "g", ["a", "b", "c"], SETTLE_MS, Idempotency_Key=key)
    expect(again.status == 201 and again.body == now and again.headers["ETag"], "%s", again)
    expect(not unequal("a@g", daemon.read("a@g", 0), BLOCK * b"2"), "the write that was in flight")
    expect(not unequal("a@g", daemon.read("a@g", BLOCK), bytes(BLOCK)), "a write of after the cut")
    daemon.snapshot("of-a", ["a"])


def waits_of_other_calls(daemon):
    """Zero waits for nothing; a preference that ends first ends the call."""
    gate = "change-a+of-a.qcow2-0"
    write = held(daemon, gate, "a", "pwrite", BLOCK * b"4", 0)
    answer = ask(daemon, "zero", ["b"], 0)
    expect(answer.status in (201, 202), "%s", answer)
    start = time.monotonic()
    answer = ask(daemon, "async", ["a"], MAX_MS, Prefer="respond-async, wait=3")
    is_cut(answer, ["a"])
    expect(time.monotonic() - start >= 3, "the wait was shorter")
    expect(answer.headers["Preference-Applied"] == "respond-async, wait=3", "%s", answer.headers)
    daemon.open_gate(gate)
    write.await_answer()
    for name in ("zero", "async"):
        wait_until(lambda: daemon.get("/snapshot-groups/" + name)["state"] == "committed", name)


def bounds(daemon):
    for value, status in ((MAX_MS + 1, 422), (-1, 422), (1.5, 400), ("1", 400)):
        answer = ask(daemon, "wrong", ["b"], value)
        expect(answer.status == status and answer.body["pointer"] == "/settle_ms", "%s: %s", value, answer)
    answer = ask(daemon, "longest", ["b"], MAX_MS)
    expect(answer.status == 201 and answer.body["state"] == "committed", "%s", answer)
    expect("group.cut" not in kinds(daemon, answer.body), "a quick group has a cut of its own")
    expect(daemon.get("/limits")["group_settle_ms"] == MAX_MS, "/limits")


def test():
    with CutDaemon() as daemon:
        daemon.start()
        for name in ("a", "b", "c"):
            daemon.create_device(name, "qcow2", SIZE_BYTES)
        bounds(daemon)
        write = held_write(daemon, 0, b"2")
        key = '"key"'
        group = is_cut(ask(daemon, "g", ["a", "b", "c"], SETTLE_MS, Idempotency_Key=key), ["a", "b", "c"])
        slow_member_waits(member(group, "a"))
        others_are_free(daemon, group)
        all_agree_on_cut(daemon, group, key)
        expect(not write.is_answered(), "the write has ended")
        ends(daemon, group, key)
        write.await_answer()
        waits_of_other_calls(daemon)


main(test)
