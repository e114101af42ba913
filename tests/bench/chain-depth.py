#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""Random reads of data that lie in the base of a chain, against qemu-storage-daemon at the same
depth, alternately.

usage: chain-depth.py [ROUNDS [SECONDS]]    (defaults: 5 rounds, 2 seconds a job)

A qcow2 base of 1 GiB, full; on it 0, 63 and 255 empty overlays, as qemu-img makes them; one
connection over a Unix socket, fio's nbd engine, randread 4k. Before the rounds every server reads
its whole disk once. In every round each job runs once against each server. Prints the machine, the
medians, our ratio to our own depth 1, the ratio to the better of QSD's two modes, and resident
memory. Only ratios of one run count.
"""
import contextlib
import os
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from peers import QSD, QSD_MODES, arguments, fio, resident_kib  # noqa: E402
from snapgroupd import Daemon, run  # noqa: E402

SIZE_BYTES = 1 << 30
DEPTHS = (1, 64, 256)
QUEUES = (32, 1)


def make_chain(directory, name, depth):
    """The top of a chain of that depth; every chain has a full base of its own."""
    os.mkdir(os.path.join(directory, name))
    image = os.path.join(directory, name, "0.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", image, str(SIZE_BYTES))
    run("qemu-io", "-f", "qcow2", "-c", "write -q -P 7 0 %d" % SIZE_BYTES, image)
    for i in range(1, depth):
        overlay = os.path.join(directory, name, "%d.qcow2" % i)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "%d.qcow2" % (i - 1), "-F", "qcow2",
            overlay, str(SIZE_BYTES))
        image = overlay
    return image


def median(runs):
    return statistics.median(runs)


def report(results, pids):
    print("%5s %5s %12s %12s %12s %12s %8s" %
          ("depth", "queue", "snapgroupd", "of depth 1", "qsd threads", "qsd io_uring", "ratio"))
    for queue in QUEUES:
        for depth in DEPTHS:
            ours, *peers = [median(results[server, depth, queue]) for server in ("ours", *QSD_MODES)]
            own = ours / median(results["ours", DEPTHS[0], queue])
            print("%5d %5d %12.0f %12.2f %12.0f %12.0f %8.2f" % (depth, queue, ours, own, *peers, ours / max(peers)))
    print("resident KiB: " + ", ".join("%s %d" % (name, resident_kib(pid)) for name, pid in pids))


def main():
    rounds, seconds = arguments(2, "%d s, IOPS")
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(Daemon())
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="sg."))
        daemon.start()
        servers, pids = {}, [("snapgroupd, all depths", daemon.pid)]
        for depth in DEPTHS:
            top = make_chain(daemon.images, "d%d" % depth, depth)
            daemon.attach_device("d%d" % depth, top, "qcow2")
            servers["ours", depth] = daemon.nbd_uri("d%d" % depth)
            for mode in QSD_MODES:
                name = "%s-%d" % (mode, depth)
                qsd = stack.enter_context(QSD(mode, os.path.join(directory, name + ".sock"),
                                              make_chain(directory, name, depth)))
                servers[mode, depth] = qsd.uri
                pids.append((name, qsd.pid))
        for uri in servers.values():
            fio(uri, "read", "1M", 8, "--size=%d" % SIZE_BYTES)
        results = {}
        for _ in range(rounds):
            for queue in QUEUES:
                for (server, depth), uri in servers.items():
                    side = fio(uri, "randread", "4k", queue, "--size=%d" % SIZE_BYTES, "--time_based",
                               "--runtime=%d" % seconds)
                    results.setdefault((server, depth, queue), []).append(side["iops"])
        report(results, pids)


main()
