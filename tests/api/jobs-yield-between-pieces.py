#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A job leaves its processor to requests often: the thread of a merge, and that of a copy, yields
# after every 256 KiB at the most, and asks the kernel to write back no more than 2 MiB at once. A
# client reads what is merged, so it goes through the page cache; the thread of the job writes it.
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from killwalk import daemon_with_jobs_alone
from snapgroupd import expect, main, wait_until
from strace import Strace, threads_named

KIB, MIB = 1 << 10, 1 << 20
PIECE, WRITE_BACK, TABLES = 256 * KIB, 2 * MIB, 128 * KIB
CALLS = "trace=sched_yield,pwrite64,sync_file_range"


def written(line):
    """The bytes that a line of strace says were written."""
    found = re.match(r"pwrite64\(.* = (\d+)$", line)
    return int(found.group(1)) if found else 0


def most_between(lines, call):
    """The most that was written between two calls of that name."""
    sums = [0]
    for line in lines:
        if line.startswith(call + "("):
            sums.append(0)
        sums[-1] += written(line)
    return max(sums), sum(sums)


def check(daemon, what, request):
    """All of the job's threads are watched: any may have it."""
    traces = [Strace(thread, CALLS, output=os.path.join(daemon.directory, "trace-%d" % thread))
              for name in ("jobs", "more-jobs") for thread in threads_named(daemon.pid, name)]
    expect(traces, "no thread has jobs")
    for trace in traces:
        trace.__enter__()
    answer = daemon.request(*request)
    expect(answer.status == 202, "%s", answer)
    wait_until(lambda: daemon.get(answer.headers["Location"])["state"] == "done", what)
    for trace in traces:
        trace.__exit__()
    lines = max((trace.lines for trace in traces), key=len)
    (piece, total), (batch, _) = most_between(lines, "sched_yield"), most_between(lines, "sync_file_range")
    print("%s: %d KiB, at most %d between yields, %d between write-backs" % (what, total / KIB, piece / KIB, batch / KIB))
    expect(total >= 8 * MIB, "%s writes %d bytes", what, total)
    expect(piece <= PIECE + TABLES, "%s writes %d bytes without a yield", what, piece)
    expect(batch <= WRITE_BACK + PIECE + TABLES, "%s has %d bytes written back at once", what, batch)


def test():
    with daemon_with_jobs_alone() as daemon:
        daemon.start()
        daemon.create_device("d", "qcow2", 16 * MIB)
        daemon.snapshot("one", ["d"])
        handle = daemon.nbd("d")
        handle.pwrite(b"\x11" * (8 * MIB), 0)
        daemon.snapshot("two", ["d"])
        handle.pread(8 * MIB, 0)
        handle.shutdown()
        check(daemon, "a copy", ("POST", "/snapshot-groups/two/copies", {"device": "d", "image": "copy.qcow2", "format": "qcow2"}))
        check(daemon, "a merge", ("DELETE", "/snapshot-groups/one"))


main(test)
