#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A device that fails is an event, once a failure: at a start without its image, again at the next
one, and while it is served. One that is online again can fail again."""
import glob
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import DEADLINE_S, Daemon, expect, main, wait_until


def failures(daemon):
    return [(event["device"], event["actor"], event["detail"]["reason"])
            for event in daemon.get("/events?kind=device.failed&limit=1000")["items"]]


def wait_for(daemon, count, reason):
    wait_until(lambda: len(failures(daemon)) >= count, "failure %d" % count)
    found = failures(daemon)
    expect(len(found) == count, "%d failures instead of %d: %s", len(found), count, found)
    device, actor, text = found[-1]
    expect(device == "vda" and actor == "snapgroupd" and reason in text, "%s", found[-1])
    shown = daemon.get("/devices/vda")
    expect(shown["state"] == "failed" and shown["reason"] == text, "%s", shown)


def is_traced(pid):
    """Whether each thread is."""
    return all("TracerPid:\t0\n" not in open(status).read() for status in glob.glob("/proc/%d/task/*/status" % pid))


def fail_sync(daemon):
    handle = daemon.nbd("vda")
    handle.pwrite(b"x" * 4096, 0)
    strace = subprocess.Popen(["strace", "-f", "-q", "-o", "/dev/null", "-p", str(daemon.pid), "-e",
                               "inject=fdatasync:error=EIO"], stderr=subprocess.PIPE)
    try:
        wait_until(lambda: is_traced(daemon.pid), "strace attaches")
        try:
            handle.flush()
            raise AssertionError("the flush succeeded")
        except __import__("nbd").Error:
            pass
    finally:
        strace.terminate()
        strace.wait(DEADLINE_S)


def test():
    with Daemon() as daemon:
        daemon.start()
        for name in ("vda", "vdb"):
            daemon.create_device(name, "raw", 1 << 20)
        expect(failures(daemon) == [], "nothing failed yet")
        image, away = daemon.image("vda.raw"), os.path.join(daemon.directory, "away.raw")
        daemon.stop()
        os.rename(image, away)
        daemon.start()
        wait_for(daemon, 1, "No such file")
        daemon.restart()
        wait_for(daemon, 2, "No such file")
        os.rename(away, image)
        wait_until(lambda: daemon.get("/devices/vda")["state"] == "online", "the device is back")
        fail_sync(daemon)
        wait_for(daemon, 3, "could not be made durable")
        ids = [event["id"] for event in daemon.get("/events?limit=1000")["items"]]
        expect(ids == list(range(1, len(ids) + 1)), "a gap: %s", ids)
        status = daemon.end(15)
        expect(status in (0, 1), "the daemon ended with %d", status)


main(test)
