#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The prober of the benchmarks hides no pause: while its server is stopped it is charged for every
request that was due, each from when it was due, not only for the one that was under way.
"""
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from prober import Prober
from snapgroupd import Daemon, expect, main, wait_until
from strace import threads

PERIOD_US = 250
STOPPED_MS = 60


def is_stopped(pid):
    """All threads: each stops when it next would run."""
    states = []
    for thread in threads(pid):
        try:
            with open("/proc/%d/task/%s/stat" % (pid, thread)) as stat:
                states.append(stat.read().rpartition(")")[2].split()[0])
        except OSError:
            return False  # it has ended
    return set(states) == {"T"}


def stopped_window(daemon, prober):
    """How long the server was stopped at least, in us, and the window."""
    prober.begin()
    os.kill(daemon.pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(daemon.pid), "the daemon to stop")
    begun = time.monotonic()
    time.sleep(STOPPED_MS / 1e3)  # the pause itself
    stopped_us = int((time.monotonic() - begun) * 1e6)
    os.kill(daemon.pid, signal.SIGCONT)
    return stopped_us, prober.end()


def test():
    with Daemon() as daemon:
        daemon.start_with({"vda": "qcow2", "vdb": "qcow2"}, 8 << 20)
        probes = [("write", PERIOD_US, daemon.nbd_uri("vda")), ("flush", 4 * PERIOD_US, daemon.nbd_uri("vdb"))]
        with Prober(probes) as prober:
            for _ in range(3):
                stopped_us, window = stopped_window(daemon, prober)
                for disk, (_, period_us, _) in zip(window.disks, probes):
                    expect(disk["max_us"] >= stopped_us - period_us, "stopped for %d us, longest %d", stopped_us, disk["max_us"])
                    long = sum(count for up_to_us, count in disk["histogram"] if up_to_us >= stopped_us // 2)
                    due = stopped_us // 2 // period_us - 1
                    expect(long >= due, "%d requests took long, %d were due in the first half", long, due)
                    expect(sum(count for _, count in disk["histogram"]) == disk["requests"], "the histogram has all")


main(test)
