#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# `ready_to_use` of a member is the same in lists of groups as for its group, and null where storage
# hangs: others on the page are known all the same, the first list waits for a second, later ones
# not at all, and once the storage answers it is known again. A page of healthy storage takes 10 ms.
import os
import statistics
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from slowfiles import HangingFile
from snapgroupd import Daemon, expect, is_sanitized, main, wait_until

GROUPS, BYTES = 25, 1 << 20
WAIT_S = 1  # readiness.h
SLACK = 3 if is_sanitized() else 1  # of bounds of time
HUNG = ("slow1", "slow2")


def listed(daemon, query="?limit=1000"):
    """{(group, device): ready_to_use}, and how long the list took."""
    begun = time.monotonic()
    page = daemon.get("/snapshot-groups" + query)
    took_s = time.monotonic() - begun
    return {(group["name"], member["device"]): member["ready_to_use"] for group in page["items"] for member in group["members"]}, took_s


def asked(daemon):
    """The same of each group by itself."""
    groups = [daemon.get("/snapshot-groups/" + group["id"]) for group in daemon.get("/snapshot-groups")["items"]]
    return {(group["name"], member["device"]): member["ready_to_use"] for group in groups for member in group["members"]}


def healthy(daemon):
    """Also what is missing, replaced or was never frozen is known."""
    for number in range(GROUPS):
        daemon.snapshot("g%d" % number, ["a", "b", "c", "d"])
    answer = daemon.request("POST", "/snapshot-groups", {"name": "failed", "devices": [{"device": "a"}, {"device": "none"}]})
    expect(answer.status == 404, "%s", answer)
    os.rename(daemon.image("a"), daemon.image("away"))
    os.rename(daemon.image("b"), daemon.image("a"))
    ready, _ = listed(daemon)
    expect(ready == asked(daemon), "a list and its groups: %s", ready)
    missing = {member for member, is_ready in ready.items() if not is_ready}
    expect(missing == {("failed", "a"), ("failed", "none"), ("g0", "a"), ("g0", "b")}, "missing: %s", missing)
    expect(None not in ready.values(), "unknown: %s", ready)
    # The best: others may need the processors.
    took_ms = min(listed(daemon, "?limit=100")[1] * 1000 for _ in range(20))
    print("a page of %d members: %.1f ms" % (len(ready), took_ms))
    expect(took_ms < 10 or is_sanitized(), "a page takes %.1f ms", took_ms)
    return ready


def hung(daemon, files, before):
    members = {("slow", name): None for name in HUNG}
    for one in files:
        one.hang()
    ready, took_s = listed(daemon)
    print("the first list with hung storage: %.2f s" % took_s)
    expect(ready == {**before, **members}, "with hung storage: %s", {name: value for name, value in ready.items() if not value})
    expect(WAIT_S <= took_s < (WAIT_S + 2) * SLACK, "the first list takes %.2f s", took_s)
    took_s = []
    for _ in range(40):  # more than threads
        ready, one_s = listed(daemon)
        took_s.append(one_s)
        expect(ready == {**before, **members}, "again: %s", ready)
    expect(statistics.median(took_s) < WAIT_S / 4 * SLACK, "later lists take %.2f s", statistics.median(took_s))
    begun = time.monotonic()
    ready = asked(daemon)
    expect(ready == {**before, **members}, "each by itself: %s", ready)
    took_s = time.monotonic() - begun
    expect(took_s < (WAIT_S + 2) * SLACK, "the groups take %.2f s", took_s)
    for one in files:
        one.go_on()
    wait_until(lambda: listed(daemon)[0] == {**before, **dict.fromkeys(members, True)}, "the storage to answer")


def test():
    with Daemon() as daemon, HangingFile(daemon, HUNG[0], BYTES) as first, HangingFile(daemon, HUNG[1], BYTES) as second:
        daemon.start()
        for name in ("a", "b", "c", "d"):
            answer = daemon.request("POST", "/devices", {"name": name, "image": name, "format": "raw", "size_bytes": BYTES})
            expect(answer.status == 201, "%s", answer)
        before = healthy(daemon)
        for name in HUNG:
            daemon.attach_device(name, name + "/disk.raw", "raw")
        answer = daemon.request("POST", "/snapshot-groups", {"name": "slow", "devices": [
            {"device": name, "snapshot_file": name + ".qcow2", "format": "qcow2"} for name in HUNG]})
        expect(answer.status == 201, "%s", answer)
        try:
            hung(daemon, (first, second), before)
        finally:
            first.go_on()
            second.go_on()
        for name in HUNG:
            daemon.request("DELETE", "/devices/" + name)
        daemon.stop()


own_mounts()
main(test)
