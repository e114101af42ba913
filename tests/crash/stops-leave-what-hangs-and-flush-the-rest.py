#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The daemon is stopped beside storage that hangs. A call that waits for it is left, and the status
is 0; so is a device, after all others were flushed, those behind it in the list too: they need no
journal any more.
"""
import contextlib
import glob
import os
import re
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from filesystems import own_mounts
from slowfiles import HangingMount, tasks_that_hang
from snapgroupd import Daemon, expect, main, wait_until

MIB = 1 << 20
BOUND_S = 25  # less than the 30 s after which the daemon ends as if it was killed


def attach(daemon):
    with contextlib.suppress(OSError):  # it is not answered
        daemon.request("POST", "/devices", {"name": "late", "image": "late/disk.raw", "format": "raw"})


def log(daemon, start=0):
    with open(daemon.log_path) as file:
        return file.read()[start:]


def stop(daemon, hanging, status):
    """The kernel closes a file on the hung file system only once that answers."""
    start, said = time.monotonic(), len(log(daemon))
    daemon.process.send_signal(signal.SIGTERM)
    wait_until(lambda: re.search("as if (storage|it) hung", log(daemon, said)), "the daemon to leave")
    took_s = time.monotonic() - start
    expect(took_s < BOUND_S, "the stop takes %.1f s", took_s)
    hanging.go_on()
    ended = daemon.end(signal.SIGTERM)
    expect(ended == status, "the daemon ended with status %d", ended)


def check_call(daemon, hanging):
    daemon.start()
    daemon.create_device("well", "qcow2", MIB)
    hanging.hang()
    threading.Thread(target=attach, args=(daemon,), daemon=True).start()
    wait_until(lambda: tasks_that_hang(daemon), "the attach to hang")
    daemon.write("well", b"a" * 4096)
    stop(daemon, hanging, 0)


def check_device(daemon, hanging):
    daemon.start()
    daemon.attach_device("hung", "slow/disk.raw", "raw")
    daemon.create_device("last", "qcow2", MIB)
    for device in ("well", "hung", "last"):
        daemon.write(device, b"b" * 4096)
    hanging.hang()
    stop(daemon, hanging, 1)


def check_flushed(daemon):
    for path in glob.glob(os.path.join(daemon.runtime, "journals", "*")):
        os.unlink(path)
    daemon.start()
    for device in ("well", "last"):
        handle = daemon.nbd(device)
        expect(handle.pread(4096, 0) == b"b" * 4096, "device %s was not flushed", device)
        handle.shutdown()
    daemon.stop()


def test():
    with Daemon() as daemon, HangingMount(daemon, "slow", MIB) as slow, HangingMount(daemon, "late", MIB) as late:
        daemon.environment["TSAN_OPTIONS"] += ":report_thread_leaks=0"  # what hangs is left
        check_call(daemon, late)
        check_device(daemon, slow)
        check_flushed(daemon)


own_mounts()
main(test)
