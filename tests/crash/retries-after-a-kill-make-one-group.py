#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: once
#
# A client that does not get its answer sends the request again until it has one, with an
# Idempotency-Key or without. The daemon is killed at every system call of the first request, on the
# thread of the group and on that of the connection. However that ends, there is one committed group
# (or one device), and one answer: an answer that came before the kill comes again with the key.
# Events agree with the rows: ids without a gap, each group prepared and ended once.
#
# CRASH_ROUNDS: how often each walk is made, at every call; without it one walk takes every fifth.
# timeout: 3600
import os
import sys
from collections import Counter

if "CRASH_ROUNDS" not in os.environ:
    os.environ.setdefault("CRASH_STRIDE", "5")
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from killer import daemon_to_kill
from killwalk import kill_walk
from snapgroupd import expect, group_body, main
from strace import run_by, served_by

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "1"))
GROUPS_MAX = 20  # of a device; then everything starts afresh


class Groups:
    def __init__(self, daemon, has_key):
        self.daemon, self.has_key, self.taken = daemon, has_key, 0
        self.begin_afresh()

    def begin_afresh(self):
        self.daemon.start()
        for name, image_format in (("vda", "raw"), ("vdb", "qcow2")):
            self.daemon.create_device(name, image_format, 1 << 20)
        self.names = []

    def before(self, step):
        if len(self.names) > GROUPS_MAX:
            self.daemon.stop()
            self.daemon.wipe()
            self.begin_afresh()

    def request(self, step):
        headers = {"Idempotency_Key": "key-%d" % step} if self.has_key else {}
        return "POST", "/snapshot-groups", group_body("g%d" % step, ["vda", "vdb"]), headers

    def after_kill(self, kill):
        pass

    def retry(self, kill):
        method, path, body, headers = self.request(kill.step)
        return self.daemon.request(method, path, body, **headers)

    def after_restart(self, kill):
        answers = [self.retry(kill) for _ in range(2)]
        self.names.append("g%d" % kill.step)
        group = self.daemon.get("/snapshot-groups/g%d" % kill.step)
        expect(group["state"] == "committed", "%s", group)
        for answer in answers:
            if self.has_key:
                expect(answer.status == 201 and answer.body["id"] == group["id"], "%s, not %s", answer, group)
            else:
                expect(answer.status == 201 and answer.body["id"] == group["id"] or
                       answer.status == 409 and answer.body["code"] == "GroupExists", "%s", answer)
        if self.has_key:
            expect(answers[1].headers["Idempotency-Replayed"] and answers[0].body == answers[1].body, "two answers")
            expect(not kill.answer or kill.answer.body == answers[0].body, "%s, then %s", kill.answer, answers[0])
        rows = self.daemon.list("/snapshot-groups")
        expect(sorted(row["name"] for row in rows if row["state"] == "committed") == sorted(self.names),
               "groups: %s", rows)
        check_events(self.daemon, rows)
        self.taken += 1


class Devices(Groups):
    def request(self, step):
        name = "d%d" % step
        return ("POST", "/devices", {"name": name, "image": name + ".raw", "format": "raw", "size_bytes": 1 << 20},
                {"Idempotency_Key": "key-" + name})

    def after_restart(self, kill):
        answers = [self.retry(kill) for _ in range(2)]
        expect(all(answer.status == 201 for answer in answers), "%s, then %s", *answers)
        expect(answers[1].headers["Idempotency-Replayed"] and answers[0].body == answers[1].body, "two answers")
        attached = Counter(event["device"] for event in all_events(self.daemon) if event["kind"] == "device.attached")
        gone = Counter(event["device"] for event in all_events(self.daemon) if event["kind"] == "device.detached")
        expect(attached["d%d" % kill.step] - gone["d%d" % kill.step] == 1, "%s and %s", attached, gone)
        self.taken += 1


def all_events(daemon):
    found, after = [], "0"
    while after:
        page = daemon.get("/events?limit=1000&after=" + after)
        found += page["items"]
        after = page["next"]
    expect([event["id"] for event in found] == list(range(1, len(found) + 1)), "ids of events")
    return found


def check_events(daemon, rows):
    """An attempt that is refused before it has a row has but one event."""
    kinds = {}
    for event in all_events(daemon):
        if event["group"] and event["kind"] != "group.cut":  # of a group that took long
            kinds.setdefault(event["group"], []).append(event["kind"])
    for row in rows:
        expect(kinds.pop(row["id"], None) == ["group.preparing", "group." + row["state"]],
               "events of %s: %s", row, kinds)
    expect(not kinds, "events of no group: %s", kinds)


def walk(make, find_thread):
    with daemon_to_kill() as daemon:
        test, step = make(daemon), 0
        for _ in range(ROUNDS):
            step += kill_walk(daemon, 201, test, find_thread, step, calls="all")
        print("%d times one group or device" % test.taken)


def test():
    walk(lambda daemon: Groups(daemon, True), run_by)
    walk(lambda daemon: Groups(daemon, True), served_by)
    walk(lambda daemon: Groups(daemon, False), run_by)
    walk(lambda daemon: Devices(daemon, True), served_by)


main(test)
