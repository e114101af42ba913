#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""First writes to a fresh overlay over a full base, against qemu-storage-daemon, alternately, on
this machine.

usage: first-touch.py [ROUNDS [MIB]]    (defaults: 5 rounds, 128 MiB written in each)

A qcow2 base of 2 GiB, written full. In every round each server in turn gets an overlay of its own,
just created, and one connection over a Unix socket: random writes of 4 KiB at depth 32, every block
at most once, the same blocks for all. Ours is the overlay that a group snapshot creates; QSD
(aio=threads and aio=io_uring) has qemu-img's default overlay and one with extended_l2=on. Prints
the machine, the medians of IOPS and of the server's CPU time per operation, and the ratios to the
better of QSD's two modes. Only ratios of one run count.
"""
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from peers import QSD, QSD_MODES, arguments, cpu_seconds, fio  # noqa: E402
from snapgroupd import Daemon, run  # noqa: E402

SIZE_BYTES = 2 << 30
QSD_OVERLAYS = {"default": "cluster_size=64k", "extended_l2": "extended_l2=on"}


class Round:
    """Runs the job once against every server; what it finds is added to `results`."""

    def __init__(self, daemon, mib, results):
        self.daemon, self.results = daemon, results
        self.options = ["--size=%d" % SIZE_BYTES, "--io_size=%dM" % mib]
        self.overlay = daemon.image("overlay.qcow2")

    def measure(self, name, uri, pid):
        """`name` says whose overlay is served at `uri`."""
        before = cpu_seconds(pid)
        side = fio(uri, "randwrite", "4k", 32, *self.options)
        used = cpu_seconds(pid) - before
        self.results.setdefault(name, []).append((side["iops"], used / side["total_ios"] * 1e6))
        # So that no dirty pages are written back while the next server is measured.
        os.unlink(self.overlay)

    def ours(self):
        # The base was frozen, and could not be attached to write again; nor is anything flushed.
        self.daemon.forget()
        self.daemon.attach_device("d", "base.qcow2", "qcow2")
        body = {"devices": [{"device": "d", "snapshot_file": self.overlay}]}
        answer = self.daemon.request("POST", "/snapshot-groups", body)
        assert answer.status == 201, answer
        self.measure("snapgroupd", self.daemon.nbd_uri("d"), self.daemon.pid)

    def qsd(self, kind, mode):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", QSD_OVERLAYS[kind], "-b",
            self.daemon.image("base.qcow2"), "-F", "qcow2", self.overlay)
        with QSD(mode, os.path.join(self.daemon.directory, "qsd"), self.overlay) as peer:
            self.measure((kind, mode), peer.uri, peer.pid)
            peer.kill()  # a flush of what is deleted already would only take time

    def run(self):
        self.ours()
        for kind in QSD_OVERLAYS:
            for mode in QSD_MODES:
                self.qsd(kind, mode)


def fill(daemon):
    daemon.create_device("d", "qcow2", SIZE_BYTES, image="base.qcow2")
    fio(daemon.nbd_uri("d"), "write", "1M", 8, "--size=%d" % SIZE_BYTES, "--end_fsync=1")
    answer = daemon.request("DELETE", "/devices/d")
    assert answer.status == 204, answer


def report(results):
    medians = {name: [statistics.median(values) for values in zip(*pairs)] for name, pairs in results.items()}
    ours = medians["snapgroupd"]
    line = "%-28s %8.0f IOPS %7.1f us CPU/op"
    print(line % ("snapgroupd", *ours))
    for kind in QSD_OVERLAYS:
        for mode in QSD_MODES:
            print(line % ("qsd %s %s" % (kind, mode), *medians[kind, mode]))
        print("ratio to the better %-11s %5.2f" % (kind, ours[0] / max(medians[kind, mode][0] for mode in QSD_MODES)))


def main():
    rounds, mib = arguments(128, "%d MiB, randwrite 4k depth 32")
    results = {}
    with Daemon() as daemon:
        daemon.start()
        fill(daemon)
        for _ in range(rounds):
            Round(daemon, mib, results).run()
    report(results)


main()
