#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""Sixteen disks at once, against qemu-storage-daemon, alternately.

usage: many-disks.py [ROUNDS [SECONDS]]    (defaults: 5 rounds, 3 seconds a job)

Sixteen qcow2 disks of 128 MiB each, written full once; one connection to each, fio's nbd engine, 70
% random reads and 30 % random writes of 4k, qd8 a disk. Prints the machine, the medians of all
disks' operations a second together, the ratio to the better of QSD's two modes, the server's CPU
time per operation and its resident memory. Only ratios of one run count.
"""
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from peers import QSD, QSD_MODES, arguments, cpu_seconds, create_qcow2, fio, resident_kib  # noqa: E402
from snapgroupd import Daemon  # noqa: E402

DISKS = 16
SIZE_BYTES = 128 << 20


class Server:
    def __init__(self, name, uris, pid):
        self.name, self.uris, self.pid = name, uris, pid
        self.iops, self.cpu_us = [], []
        fio(uris, "write", "1M", 2, "--size=%d" % SIZE_BYTES, "--end_fsync=1")

    def measure(self, seconds):
        before = cpu_seconds(self.pid)
        sums = fio(self.uris, "randrw", "4k", 8, "--rwmixread=70", "--size=%d" % SIZE_BYTES,
                   "--runtime=%d" % seconds, "--time_based")
        self.iops.append(sums["iops"])
        self.cpu_us.append((cpu_seconds(self.pid) - before) / max(sums["total_ios"], 1) * 1e6)

    def __str__(self):
        return "%-16s %10.0f IOPS  %5.1f CPU us/op  %d KiB resident" % (
            self.name, statistics.median(self.iops), statistics.median(self.cpu_us), resident_kib(self.pid))


def peer(stack, directory, mode):
    images = [create_qcow2(directory, "%s-%d" % (mode, i), SIZE_BYTES) for i in range(DISKS)]
    qsd = stack.enter_context(QSD(mode, os.path.join(directory, mode), *images))
    return Server("qsd " + mode, qsd.uris, qsd.pid)


def main():
    rounds, seconds = arguments(3, "%d s")
    with Daemon() as daemon, tempfile.TemporaryDirectory(prefix="sg.") as directory, ExitStack() as stack:
        daemon.start()
        names = ["d%d" % i for i in range(DISKS)]
        for name in names:
            daemon.create_device(name, "qcow2", SIZE_BYTES)
        servers = [Server("snapgroupd", [daemon.nbd_uri(name) for name in names], daemon.pid)]
        servers += [peer(stack, directory, mode) for mode in QSD_MODES]
        for _ in range(rounds):
            for server in servers:
                server.measure(seconds)
        print(*servers, sep="\n")
        medians = [statistics.median(server.iops) for server in servers]
        print("ratio %.2f" % (medians[0] / max(medians[1:])))


main()
