#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two jobs copy from storage that hangs, as many as are at work at a time: a delete and a copy of
another disk run all the same. One that hangs is paused and continued, and one cancelled: the calls
answer at once. The daemon ends while both hang, with status 0; once the storage answers, one copies
what was frozen, and the cancelled one leaves no file. A paused copy to what hangs is cancelled,
too.

A trigger pauses these jobs as they are made, so that they begin once their storage hangs; the last
one's file is moved there in its row, since the file system has no room for one.
"""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from filesystems import own_mounts
from slowfiles import HangingFile, HangingMount
from snapgroupd import Daemon, expect, main, wait_until

MIB = 1 << 20
HUNG = 2
ANSWER_S = 10  # a sanitizer's daemon on a busy machine is slow
END_S = 25  # less than the 30 s after which the daemon ends as if it was killed


def copy(daemon, group, device, image=None):
    answer = daemon.request("POST", "/snapshot-groups/%s/copies" % group, {
        "device": device, "image": image or device + "-copy.raw", "format": "raw"})
    expect(answer.status == 202, "%s", answer)
    return answer.body


def state_of(daemon, job):
    return daemon.get("/jobs/" + job["id"])["state"]


def await_state(daemon, job, state):
    wait_until(lambda: state_of(daemon, job) == state, "job %s to be %s" % (job["id"], state))


def change(daemon, job, wanted, *states):
    start = time.monotonic()
    answer = daemon.request("PATCH", "/jobs/" + job["id"], {"state": wanted})
    took_s = time.monotonic() - start
    expect(answer.status == 200 and answer.body["state"] in states, "%s: %s", wanted, answer)
    expect(took_s < ANSWER_S, "%s is answered after %.1f s", wanted, took_s)


def begin(daemon):
    """The jobs, which are paused."""
    for number in range(HUNG):
        name = "hung%d" % number
        daemon.attach_device(name, "slow%d/disk.raw" % number, "raw")
        daemon.write(name, b"%d" % number * MIB)
        answer = daemon.request("POST", "/snapshot-groups", {"name": name, "devices": [
            {"device": name, "snapshot_file": name + "+.qcow2"}]})
        expect(answer.status == 201, "%s", answer)
    daemon.create_device("well", "qcow2", MIB)
    with daemon.stopped_database() as database:
        database.execute("CREATE TRIGGER paused AFTER INSERT ON jobs WHEN NEW.device LIKE 'hung%' BEGIN "
                         "UPDATE jobs SET state = 'paused' WHERE id = NEW.id; END")
    jobs = [copy(daemon, "hung%d" % number, "hung%d" % number) for number in range(HUNG)]
    jobs.append(copy(daemon, "hung1", "hung1", "moved.raw"))
    with daemon.stopped_database() as database:
        database.execute("UPDATE jobs SET file_state = 'staged', spec = json_set(spec, '$.image', ?) WHERE id = ?",
                         (daemon.image("slow0/moved.raw"), jobs[HUNG]["id"]))
    return jobs


def others_run(daemon, group):
    daemon.write("well", b"w" * 65536)
    daemon.snapshot(group, ["well"])
    await_state(daemon, copy(daemon, group, "well"), "done")
    daemon.delete_group(group)
    os.unlink(daemon.image("well-copy.raw"))


def check_hung(daemon, jobs):
    for job in jobs[:HUNG]:
        change(daemon, job, "running", "queued", "running")
    others_run(daemon, "now")
    for job in jobs[:HUNG]:
        await_state(daemon, job, "running")
    change(daemon, jobs[0], "paused", "paused")
    change(daemon, jobs[0], "running", "queued")
    for job in jobs[1:]:
        change(daemon, job, "cancelled", "cancelled")
    others_run(daemon, "later")
    expect(state_of(daemon, jobs[0]) == "queued", "its thread has not ended")
    expect(daemon.request("PATCH", "/jobs/" + jobs[1]["id"], {"state": "running"}).status == 409, "it has ended")


def end(daemon):
    """Once it has left, the kernel keeps its files until the storage answers."""
    start = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "ending without" in open(daemon.log_path).read(), "the daemon to end")
    took_s = time.monotonic() - start
    expect(took_s < END_S, "the daemon waits for %.1f s", took_s)


def check_copies(daemon, jobs):
    daemon.start()
    await_state(daemon, jobs[0], "done")
    with open(daemon.image("hung0-copy.raw"), "rb") as data:
        expect(data.read() == b"0" * MIB, "the copy differs")
    expect(state_of(daemon, jobs[1]) == "cancelled", "it was cancelled")
    files = daemon.image_names()
    expect(not [name for name in files if name.startswith(".") or name == "hung1-copy.raw"], "a file is left: %s", files)
    daemon.stop()


def test():
    with Daemon() as daemon, HangingFile(daemon, "slow0", MIB) as first, HangingMount(daemon, "slow1", MIB) as second:
        daemon.environment["TSAN_OPTIONS"] += ":report_thread_leaks=0"  # what hangs is left
        hanging = (first, second)
        daemon.start()
        jobs = begin(daemon)
        # So they are open.
        readers = [daemon.nbd("hung%d@hung%d" % (number, number)) for number in range(HUNG)]
        for one in hanging:
            one.hang()
        try:
            check_hung(daemon, jobs)
            end(daemon)
        finally:
            for one in hanging:
                one.go_on()
        del readers
        status = daemon.end(signal.SIGTERM)
        expect(status == 0, "the daemon ended with status %d", status)
        check_copies(daemon, jobs)


own_mounts()
main(test)
