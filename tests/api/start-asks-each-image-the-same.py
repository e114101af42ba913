#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A start makes as many system calls for each image however many images and journals there are, and
syncs nothing where nothing was left to remove. strace counts them after SIGKILL, when each top has
a journal. Chains are opened by 16 threads at most, side by side."""
import os
import re
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import SNAPGROUPD, Daemon, expect, main, wait_until  # noqa: E402

COUNTS = (5, 20, 80)
DEPTH = 3
EXTRA_MAX = 1.1


def lines(trace):
    with open(trace, errors="replace") as file:
        return file.read().splitlines() or [""]


def calls_of_a_start(devices):
    """(all calls, syncs, threads that open tops) of a start with that many devices."""
    with Daemon() as daemon:
        daemon.start()
        for number in range(devices):
            daemon.create_device("d%d" % number, "qcow2", 1 << 20)
        for group in range(DEPTH - 1):
            daemon.snapshot("g%d" % group, ["d%d" % number for number in range(devices)])
        daemon.kill()
        trace = os.path.join(daemon.directory, "trace")
        program = os.path.join(daemon.directory, "traced")
        with open(program, "w") as script:
            script.write("#!/bin/sh\nexec strace -D -f -o %s %s \"$@\"\n" % (trace, SNAPGROUPD))
        os.chmod(program, 0o755)
        daemon.executable = program
        daemon.start()
        expect(len(daemon.list("/devices")) == devices, "%d devices after a start", devices)
        daemon.kill()  # nor would a sanitizer look for leaks under strace
        wait_until(lambda: "+++ killed by SIGKILL +++" in lines(trace)[-1], "strace to end")
        text = lines(trace)
        names = [match[1] for match in (re.match(r"\d+ +(\w+)\(", line) for line in text) if match]
        tops = {line.split()[0] for line in text if "openat2(" in line and "O_RDWR" in line}
    return len(names), sum(name in ("fsync", "sync_file_range", "syncfs") for name in names), len(tops)


def test():
    if not shutil.which("strace"):
        sys.exit(77)
    calls, syncs, threads = zip(*(calls_of_a_start(devices) for devices in COUNTS))
    print("devices %s: calls %s, syncs %s" % (COUNTS, calls, syncs))
    few = (calls[1] - calls[0]) / (COUNTS[1] - COUNTS[0])
    many = (calls[2] - calls[1]) / (COUNTS[2] - COUNTS[1])
    expect(many < EXTRA_MAX * few, "a device costs %.1f calls among few, %.1f among many", few, many)
    expect(threads == (5, 16, 16), "%s threads open chains of %s devices", threads, COUNTS)
    expect(syncs[2] == syncs[0], "more devices, more syncs: %s", syncs)


main(test)
