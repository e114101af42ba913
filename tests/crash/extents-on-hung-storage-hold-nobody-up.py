#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The storage of a frozen member hangs: calls for its extents end after extent_wait_ms, beyond
extent_calls they are refused at once, and so are those that come later, as long as it hangs.
Others' extents are listed, and its own once it answers again.
"""
import collections
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from filesystems import own_mounts
from slowfiles import HangingFile
from snapgroupd import Daemon, expect, main, wait_until

MIB = 1 << 20
HUNG = "/snapshot-groups/g/members/hung/extents"
WELL = "/snapshot-groups/g/members/vda/extents"


def ask_all(daemon, count):
    """Sends the calls at once; (status, code) of each, and the seconds that all of them took."""
    connections = [daemon.connection() for _ in range(count)]
    for connection in connections:
        expect(connection.ask("GET", "/livez").status == 200, "no probe")
    answers = []

    def ask(connection):
        answer = connection.ask("GET", HUNG)
        answers.append((answer.status, answer.body["code"]))
    threads = [threading.Thread(target=ask, args=(connection,)) for connection in connections]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    return answers, time.monotonic() - start


def check_hung(daemon):
    limits = daemon.get("/limits")
    calls, wait_s = limits["extent_calls"], limits["extent_wait_ms"] / 1000
    answers, took_s = ask_all(daemon, calls + 20)
    counts = collections.Counter(answers)
    print("%s in %.1f s" % (dict(counts), took_s))
    expect(set(counts) == {(503, "OutOfResources"), (504, "DeadlineExceeded")}, "%s", counts)
    expect(counts[504, "DeadlineExceeded"] >= calls and took_s >= wait_s, "%s in %.1f s", counts, took_s)
    start = time.monotonic()
    for _ in range(20):
        answer = daemon.request("GET", HUNG)
        expect(answer.status == 504 and answer.body["retryable"], "later: %s", answer)
    expect(time.monotonic() - start < 20 * wait_s / 2, "calls wait for what is known to hang")
    expect(daemon.get(WELL)["items"], "what does not hang is not listed")


def test():
    with Daemon() as daemon, HangingFile(daemon, "slow", MIB) as hanging:
        daemon.start()
        daemon.attach_device("hung", "slow/disk.raw", "raw")
        daemon.create_device("vda", "raw", MIB)
        for device in ("hung", "vda"):
            handle = daemon.nbd(device)
            handle.pwrite(b"x" * 4096, 0)
            handle.shutdown()
        answer = daemon.request("POST", "/snapshot-groups", {"name": "g", "devices": [
            {"device": "hung", "snapshot_file": "hung+g.qcow2"}, {"device": "vda"}]})
        expect(answer.status == 201, "%s", answer)
        hanging.hang()
        check_hung(daemon)
        hanging.go_on()
        wait_until(lambda: daemon.request("GET", HUNG).status == 200, "the storage to be asked again")
        expect(daemon.get(HUNG)["items"], "what has hung is not listed")


own_mounts()
main(test)
