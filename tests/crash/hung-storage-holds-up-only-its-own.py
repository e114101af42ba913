#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A file system beneath the image directory hangs; whatever does not touch it goes on.

100 devices, some with clients that write and flush, and two images on FUSE file systems whose
servers are stopped: one with a device whose client's write hangs, one that is being attached. All
hang until the test continues the servers, so that a call that waits for them fails at its deadline,
however slow this machine is. The longest of each kind is printed. SIGTERM meanwhile ends the
daemon, with status 1 and a word in the log, and what was acknowledged, flushed or not, is there
after a start once the file systems answer again.
"""
import contextlib
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from filesystems import own_mounts
from slowfiles import HangingFile
from snapgroupd import Daemon, expect, main, wait_until

DEVICES, BYTES, BLOCK = 100, 1 << 20, 4096
CLIENTS = 8
# Nothing may wait for what hangs; a sanitizer's daemon on a busy machine is merely slow.
BOUND_S = 20


class Times:
    """The longest of each kind of call; each within the bound."""

    def __init__(self):
        self.longest_s = {}

    @contextlib.contextmanager
    def of(self, kind):
        start = time.monotonic()
        yield
        took_s = time.monotonic() - start
        self.longest_s[kind] = max(took_s, self.longest_s.get(kind, 0))
        expect(took_s < BOUND_S, "%s takes %.1f s", kind, took_s)


class Client(threading.Thread):
    """Writes and flushes until it is told to end."""

    def __init__(self, daemon, device, times):
        super().__init__(daemon=True)
        self.handle, self.times = daemon.nbd(device), times
        self.ending, self.rounds, self.error = threading.Event(), 0, None

    def run(self):
        try:
            while not self.ending.is_set():
                offset = self.rounds * BLOCK % BYTES
                with self.times.of("NBD write"):
                    self.handle.pwrite(b"w" * BLOCK, offset)
                with self.times.of("NBD read"):
                    self.handle.pread(BLOCK, offset)
                with self.times.of("NBD flush"):
                    self.handle.flush()
                self.rounds += 1
            self.handle.shutdown()
        except Exception as error:
            self.error = error


def call(daemon, times, kind, method, path, body, status):
    with times.of(kind):
        answer = daemon.request(method, path, body)
    expect(answer.status == status, "%s: %s", kind, answer)


def others(daemon, times, number):
    """Every call that has nothing to do with what hangs."""
    name = "new%d" % number
    new = {"name": name, "image": name + ".qcow2", "format": "qcow2"}
    for path in ("/devices", "/devices/d7", "/livez", "/readyz", "/snapshot-groups"):
        call(daemon, times, "GET " + path, "GET", path, None, 200)
    call(daemon, times, "POST /devices (create)", "POST", "/devices", {**new, "size_bytes": BYTES}, 201)
    call(daemon, times, "DELETE /devices/NAME", "DELETE", "/devices/" + name, None, 204)
    call(daemon, times, "POST /devices (attach)", "POST", "/devices", new, 201)
    members = [{"device": device} for device in ("d0", "d1", name)]
    call(daemon, times, "POST /snapshot-groups", "POST", "/snapshot-groups", {"name": "g%d" % number, "devices": members}, 201)
    with times.of("NBD connect and disconnect"):
        daemon.nbd("d9").shutdown()


def stuck(target, *arguments):
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread


def hung_calls(daemon, handle):
    """What touches a hung file system, each from a connection of its own; nobody waits for
    these."""
    def ask(method, path, body):
        with contextlib.suppress(Exception):  # it may well time out
            daemon.request(method, path, body)
    def write():
        with contextlib.suppress(Exception):  # it was not acknowledged when the daemon ended
            handle.pwrite(b"x" * BLOCK, BLOCK)
            handle.flush()
    attach = {"name": "late", "image": "slow2/disk.raw", "format": "raw"}
    return [stuck(write), stuck(ask, "POST", "/devices", attach), stuck(ask, "DELETE", "/devices/hung", None)]


def hung_group(daemon, times):
    """It ends at its deadline; the devices stay in use by it."""
    group = {"name": "hung", "devices": [{"device": "d90"}, {"device": "hung", "snapshot_file": "hung+1.qcow2"}],
             "deadline_ms": 3000}
    call(daemon, times, "POST /snapshot-groups (hung)", "POST", "/snapshot-groups", group, 504)
    answer = daemon.request("POST", "/snapshot-groups", {"devices": [{"device": "d90"}]})
    expect(answer.status == 409 and "snapshot group" in answer.body["detail"], "its other member: %s", answer)


def exercise(daemon, first, second):
    times = Times()
    daemon.start()
    for number in range(DEVICES):
        daemon.create_device("d%d" % number, ("raw", "qcow2")[number % 2], BYTES)
    daemon.attach_device("hung", "slow1/disk.raw", "raw")
    handle = daemon.nbd("hung")
    handle.pwrite(b"a" * BLOCK, 0)
    handle.flush()
    handle.pwrite(b"b" * BLOCK, 2 * BLOCK)
    daemon.nbd("d51").pwrite(b"c" * BLOCK, 0)
    clients = [Client(daemon, "d%d" % number, times) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    first.hang()
    second.hang()
    hung_group(daemon, times)
    threads = hung_calls(daemon, handle)
    for number in range(6):
        others(daemon, times, number)
    expect(threads[0].is_alive() and threads[1].is_alive(), "the file systems do not hang")
    for client in clients:
        client.ending.set()
        client.join(BOUND_S)
        expect(not client.is_alive() and client.rounds and not client.error, "a client: %s", client.error or "is stuck")
    for kind, took_s in sorted(times.longest_s.items()):
        print("%-30s %8.1f ms" % (kind, took_s * 1e3), flush=True)
    daemon.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "as if storage hung" in open(daemon.log_path).read(), "the daemon to give up")


def test():
    with Daemon() as daemon, HangingFile(daemon, "slow1", BYTES) as first, HangingFile(daemon, "slow2", BYTES) as second:
        daemon.environment["TSAN_OPTIONS"] += ":report_thread_leaks=0"  # what hangs is left
        try:
            exercise(daemon, first, second)
        finally:
            first.go_on()
            second.go_on()
        # It has left; the kernel closed its files on the hung FUSE only now.
        status = daemon.end(signal.SIGTERM)
        expect(status == 1, "the daemon ended with status %d", status)
        daemon.start()
        for device, block, byte in (("hung", 0, b"a"), ("hung", 2, b"b"), ("d51", 0, b"c")):
            handle = daemon.nbd(device)
            expect(handle.pread(BLOCK, block * BLOCK) == byte * BLOCK, "%s, block %d is lost", device, block)
            handle.shutdown()
        daemon.stop()


own_mounts()
main(test)
