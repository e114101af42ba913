#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The storage of a device hangs: the dry run of a delete, and the plan of a copy, end with 504
after plan_wait_ms, or at once where it is known to hang, and a delete's job fails with it.
Meanwhile groups of other devices are planned, deleted and copied. Once the storage answers, so is
what has failed, as far as there is room.
"""
import functools
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from filesystems import own_mounts
from slowfiles import HangingFile
from snapgroupd import Daemon, at_once, expect, main, wait_until

MIB = 1 << 20
GROUPS = ("deleted", "planned", "copied")


def plans(deleted, copied, device):
    body = {"device": device, "image": device + "-copy.qcow2", "format": "qcow2"}
    path = "/snapshot-groups/%s/copies" % copied
    return (("DELETE", "/snapshot-groups/%s?dry_run=true" % deleted, None), ("POST", path + "?dry_run=true", body), ("POST", path, body))


def ask_all(daemon, requests):
    """Sends them at once; (answer, seconds) of each."""
    def ask(request):
        start = time.monotonic()
        return daemon.request(*request), time.monotonic() - start
    return at_once(*(functools.partial(ask, request) for request in requests))


def job_ends(daemon, location, state):
    job = wait_until(lambda: (lambda now: now["state"] not in ("queued", "running") and now)(daemon.get(location)), "a job to end")
    expect(job["state"] == state, "%s", job)
    return job


def delete(daemon, group, state):
    answer = daemon.request("DELETE", "/snapshot-groups/" + group)
    expect(answer.status == 202, "%s", answer)
    return job_ends(daemon, answer.headers["Location"], state)


def others_go_on(daemon):
    """While a job waits for what hangs."""
    for request, status in zip(plans("well", "well", "vda"), (200, 200, 202)):
        answer = daemon.request(*request)
        expect(answer.status == status, "%s: %s", request, answer)
    job_ends(daemon, answer.headers["Location"], "done")
    delete(daemon, "well", "done")


def check_hung(daemon):
    wait_s = daemon.get("/limits")["plan_wait_ms"] / 1000
    begun = daemon.request("DELETE", "/snapshot-groups/deleted")
    expect(begun.status == 202, "%s", begun)
    answers = ask_all(daemon, plans("planned", "copied", "hung"))
    others_go_on(daemon)
    for answer, took_s in answers:
        expect((answer.status, answer.body["code"], answer.body["retryable"]) == (504, "DeadlineExceeded", True), "%s", answer)
        expect(took_s < 3 * wait_s, "%s after %.1f s", answer, took_s)
    expect(max(took_s for _, took_s in answers) >= wait_s, "nobody waits: %s", answers)
    error = job_ends(daemon, begun.headers["Location"], "failed")["error"]
    expect((error["status"], error["code"]) == (504, "DeadlineExceeded"), "%s", error)
    start = time.monotonic()
    for request in plans("planned", "copied", "hung"):
        answer = daemon.request(*request)
        expect(answer.status == 504, "later: %s", answer)
    expect(time.monotonic() - start < 2 * wait_s, "calls wait for what is known to hang")


def begin(daemon):
    daemon.attach_device("hung", "slow/disk.raw", "raw")
    daemon.create_device("vda", "qcow2", MIB)
    for group in GROUPS:
        handle = daemon.nbd("hung")
        handle.pwrite(b"x" * 4096, 0)
        handle.shutdown()
        answer = daemon.request("POST", "/snapshot-groups", {"name": group, "devices": [
            {"device": "hung", "snapshot_file": "hung+%s.qcow2" % group}]})
        expect(answer.status == 201, "%s", answer)
    daemon.snapshot("well", ["vda"])


def test():
    with Daemon() as daemon, HangingFile(daemon, "slow", MIB) as hanging:
        daemon.start()
        begin(daemon)
        hanging.hang()
        check_hung(daemon)
        hanging.go_on()
        dry_run, _, copy = plans("planned", "copied", "hung")
        wait_until(lambda: daemon.request(*dry_run).status == 200, "the storage to be asked again")
        answer = daemon.request(*copy)
        expect(answer.status == 202, "%s", answer)
        job_ends(daemon, answer.headers["Location"], "done")
        error = delete(daemon, "deleted", "failed")["error"]  # nbdfuse has no room
        expect(error["status"] == 507, "%s", error)


own_mounts()
main(test)
