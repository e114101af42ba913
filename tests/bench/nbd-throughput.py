#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""NBD throughput against qemu-storage-daemon (aio=threads and aio=io_uring), alternately, on this
machine.

usage: nbd-throughput.py [ROUNDS [SECONDS]]    (defaults: 5 rounds, 3 seconds a job)

One qcow2 disk of 2 GiB, written full once for each server, one connection (unless said) over a Unix
socket, fio's nbd engine. In every round each job runs once against each server, one server after
the other. Prints the machine, the medians, the ratio to the better of QSD's two modes, and the
server's CPU time per operation. Only ratios of one run count.
"""
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from peers import QSD, QSD_MODES, arguments, cpu_seconds, create_qcow2, fio, resident_kib  # noqa: E402
from snapgroupd import Daemon  # noqa: E402

SIZE_BYTES = 2 << 30
JOBS = {  # what it is called: rw, bs, depth, further options
    "randread 4k qd32": ("randread", "4k", 32),
    "the same, 2 connections": ("randread", "4k", 32, "--numjobs=2"),
    "randread 4k qd1": ("randread", "4k", 1),
    "randwrite 4k qd32": ("randwrite", "4k", 32),
    "randwrite 4k qd1": ("randwrite", "4k", 1),
    "the same, each flushed": ("randwrite", "4k", 1, "--fsync=1"),
    "read 1M qd8": ("read", "1M", 8),
    "write 1M qd8": ("write", "1M", 8),
}


class Server:
    """uri and pid of a server whose disk is full."""

    def __init__(self, name, uri, pid):
        self.name, self.uri, self.pid = name, uri, pid
        self.results = {}
        fio(uri, "write", "1M", 8, "--size=%d" % SIZE_BYTES, "--end_fsync=1")

    def measure(self, job, seconds):
        before = cpu_seconds(self.pid)
        side = fio(self.uri, *JOBS[job], "--size=%d" % SIZE_BYTES, "--runtime=%d" % seconds, "--time_based")
        self.results.setdefault(job, []).append(
            (side["iops"], (cpu_seconds(self.pid) - before) / max(side["total_ios"], 1) * 1e6))

    def median(self, job):
        return [statistics.median(values) for values in zip(*self.results[job])]


def report(servers):
    ours, threads, uring = servers
    print("%-24s %12s %12s %12s %7s   %s" % ("job", "snapgroupd", "qsd threads", "qsd io_uring", "ratio",
                                             "CPU us/op (same order)"))
    for job in JOBS:
        rows = [server.median(job) for server in (ours, threads, uring)]
        print("%-24s %12.0f %12.0f %12.0f %7.2f   %.1f %.1f %.1f" % (
            job, *(row[0] for row in rows), rows[0][0] / max(rows[1][0], rows[2][0]),
            *(row[1] for row in rows)))
    print("resident KiB: " + ", ".join("%s %d" % (s.name, resident_kib(s.pid)) for s in servers))


def main():
    rounds, seconds = arguments(3, "%d s, IOPS")
    with Daemon() as daemon, tempfile.TemporaryDirectory(prefix="sg.") as directory, ExitStack() as stack:
        daemon.start()
        daemon.create_device("d", "qcow2", SIZE_BYTES)
        servers = [Server("snapgroupd", daemon.nbd_uri("d"), daemon.pid)]
        for mode in QSD_MODES:
            image = create_qcow2(directory, mode, SIZE_BYTES)
            peer = stack.enter_context(QSD(mode, os.path.join(directory, mode), image))
            servers.append(Server("qsd " + mode, peer.uri, peer.pid))
        for _ in range(rounds):
            for job in JOBS:
                for server in servers:
                    server.measure(job, seconds)
        report(servers)


main()
