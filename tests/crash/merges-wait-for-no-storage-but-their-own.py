#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Storage hangs. On it an image is being attached, and devices are being described, detached,
frozen and rolled back: a delete of another disk's group, with a merge, is done meanwhile.
"""
import contextlib
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from filesystems import own_mounts
from slowfiles import HangingMount, tasks_that_hang
from snapgroupd import Daemon, expect, main, wait_until

MIB = 1 << 20
HUNG = ("described", "detached", "frozen", "rolled")


def ask(daemon, method, path, body=None):
    try:
        daemon.request(method, path, body)
    except OSError:
        pass  # it may well time out


class HungCall:
    def __init__(self, daemon, *request):
        self.daemon, self.request = daemon, request
        self.begin()

    def begin(self):
        self.thread = threading.Thread(target=ask, args=(self.daemon,) + self.request, daemon=True)
        self.thread.start()

    def is_one_of(self, count):
        """Whether so many calls hang. For a second the kernel may know what a GET asks."""
        if self.request[0] == "GET" and not self.thread.is_alive():
            self.begin()
        return tasks_that_hang(self.daemon) >= count


def hung_calls(daemon):
    for number, request in enumerate((
            ("POST", "/devices", {"name": "attached", "image": "new/disk.raw", "format": "raw"}),
            ("GET", "/devices/described", None),
            ("DELETE", "/devices/detached", None),
            ("POST", "/snapshot-groups", {"name": "late", "devices": [{"device": "frozen", "snapshot_file": "late.qcow2"}]}),
            ("POST", "/snapshot-groups/old/rollbacks", {"name": "back"})), 1):
        call = HungCall(daemon, *request)
        wait_until(lambda call=call, count=number: call.is_one_of(count), "%s %s to hang" % request[:2])


def merge(daemon, device):
    """Groups a and b of the device; b's image is merged into a's."""
    for group in "ab":
        daemon.write(device, group.encode() * 4096)
        daemon.snapshot(device + group, [device])
    daemon.write(device, b"c" * 4096)
    answer = daemon.request("DELETE", "/snapshot-groups/" + device + "a")
    expect(answer.status == 202, "%s", answer)
    path = answer.headers["Location"]
    job = wait_until(lambda: (lambda now: now["state"] not in ("queued", "running") and now)(daemon.get(path)),
                     "the job of %s to end" % device)
    expect(job["state"] == "done", "%s", job)
    expect(job["merges"], "nothing was merged: %s", job)


def begin(daemon):
    for name in HUNG:
        daemon.attach_device(name, name + "/disk.raw", "raw")
        daemon.write(name, b"x" * 4096)
    answer = daemon.request("POST", "/snapshot-groups", {"name": "old", "devices": [
        {"device": "rolled", "snapshot_file": "old.qcow2"}]})
    expect(answer.status == 201, "%s", answer)
    daemon.create_device("well", "qcow2", MIB)
    merge(daemon, "well")


def test():
    with Daemon() as daemon, contextlib.ExitStack() as stack:
        files = [stack.enter_context(HangingMount(daemon, name, MIB)) for name in HUNG + ("new",)]
        daemon.start()
        begin(daemon)
        for file in files:
            file.hang()
        hung_calls(daemon)
        daemon.create_device("other", "qcow2", MIB)
        merge(daemon, "other")
        for file in files:
            file.go_on()
        wait_until(lambda: not tasks_that_hang(daemon), "the storage to answer")
        daemon.stop()


own_mounts()
main(test)
