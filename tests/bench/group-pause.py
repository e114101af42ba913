#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
# timeout: 7200
"""What clients notice of a group snapshot, against qemu-storage-daemon's two ways, alternately.

usage: group-pause.py [--disks N]... [--slow write|flush] [--rounds 5] [--snapshots 20]
                      [--qemu-max 64] [--runtime memory|disk] [--smoke]

N qcow2 disks (1, 8, 64 and 1000; more than --qemu-max only ours), of which at most 8 are probed: a
4 KiB write to each on a fixed schedule, over one connection, its latency counted from when it was
due (tests/bench/prober.c). In every round each server starts anew with fresh disks and takes
SNAPSHOTS group snapshots (5 at most beyond 100 disks):

    ours            POST /snapshot-groups
    qemu sync       blockdev-snapshot-sync of all disks in one transaction
    qemu prepared   overlays by blockdev-create, then blockdev-snapshot in one transaction

Each snapshot has a window around the whole call, and before and after it an equally long window
without one. Of a snapshot `beyond` is the longest request of its window less that of the window
before it; `noise` is that of the window after it less that of the window before. QEMU's overlays
are not durable when the call returns, ours are. No image is removed before the end: ext4 takes its
time to find an inode while many were freed within the last minutes.

--slow adds one more member on a FUSE file system that takes 500 ms for each write, or each flush;
a request to it is in flight nearly always. Its own figures stand apart from the others'. Each
snapshot, of 4 a round, then has a server of its own.

Prints medians of the rounds; p99 is over the snapshots of a round, the worst over all. First come
the longest write and sync that the storage of the images has by itself, without a server: a request
to one may meet the same.
"""
import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts  # noqa: E402
from prober import Prober  # noqa: E402
from qsdgroups import GroupQSD  # noqa: E402
from runtimes import file_system_of, use_memory_runtime  # noqa: E402
from slowfiles import DELAY_MS, SlowFile  # noqa: E402
from snapgroupd import Daemon, Failure, expect, group_body, run  # noqa: E402

SIZE_BYTES = 64 << 20
PROBED_MAX = 8
PERIOD_US = 250
# All probed disks together: more would measure how two servers share the processors with a client.
WRITES_A_SECOND = 4000
LEAD_S, TAIL_S = 0.02, 0.1  # of a window, around the call
SLOW_WINDOW_S = 1.2
ALONE_S = 20


def make_images(directory, names):
    """{name: (path, format)}; copies of one empty image, for qemu-img takes its time."""
    model = os.path.join(directory, "model.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", model, str(SIZE_BYTES))
    paths = {name: (os.path.join(directory, name + ".qcow2"), "qcow2") for name in names}
    for path, _ in paths.values():
        shutil.copyfile(model, path)
    os.unlink(model)
    return paths


class Ours:
    def __init__(self, stack, names, options):
        self.daemon = stack.enter_context(Daemon())
        if options.runtime == "memory":
            use_memory_runtime(stack, self.daemon)
        self.daemon.start()
        self.names = list(names)
        disks = make_images(self.daemon.images, names)
        if options.slow:
            slow = stack.enter_context(SlowFile(self.daemon.image("slow"), options.slow, SIZE_BYTES))
            disks["slow"] = (slow.path, "raw")
        for name, (path, kind) in disks.items():
            self.daemon.attach_device(name, path, kind)
        self.members = [{"device": name, "snapshot_file": name + "+%d.qcow2"} for name in disks]
        if not options.slow:
            stack.callback(self.end, options.kept)

    def end(self, kept):
        self.daemon.stop()
        os.rename(self.daemon.images, tempfile.mkdtemp(dir=kept))

    def uri(self, name):
        return self.daemon.nbd_uri(name)

    def snapshot(self, number):
        """What one call took, and what it says of itself."""
        members = [{**member, "snapshot_file": member["snapshot_file"] % number} for member in self.members]
        connection, begun = self.daemon.connection(), time.monotonic()
        answer = connection.ask("POST", "/snapshot-groups", {**group_body("g%d" % number, []), "devices": members})
        took_s = time.monotonic() - begun
        connection.close()
        expect(answer.status in (201, 202), "POST /snapshot-groups: %s", answer)
        told = [answer.body] + answer.body["members"]
        return {"call_ms": took_s * 1e3, "status": answer.status,
                "pause_us": max(one["pause_us"] or 0 for one in told),
                "copy_wait_us": max((one.get("copy_wait_us") or 0 for one in told), default=0)
                if any("copy_wait_us" in one for one in told) else None}


class Qemu:
    def __init__(self, stack, names, options):
        directory = tempfile.mkdtemp(dir=options.kept)
        disks = make_images(directory, names)
        if options.slow:
            slow = stack.enter_context(SlowFile(os.path.join(directory, "slow"), options.slow, SIZE_BYTES))
            disks["slow"] = (slow.path, "raw")
        self.peer = stack.enter_context(GroupQSD(directory, disks, SIZE_BYTES))

    def uri(self, name):
        return self.peer.uri(name)

    def snapshot(self, number):
        prepare_s, commit_s = self.take(number)
        return {"call_ms": (prepare_s + commit_s) * 1e3, "commit_ms": commit_s * 1e3}


class QemuSync(Qemu):
    def take(self, number):
        return self.peer.snapshot_sync(number)


class QemuPrepared(Qemu):
    def take(self, number):
        return self.peer.snapshot_prepared(number)


SERVERS = {"ours": Ours, "qemu sync": QemuSync, "qemu prepared": QemuPrepared}


class Measured:
    """The window of one snapshot and those without one, before and after it. `probed`: the number
    of disks that are not slow; the slow one is the last."""

    def __init__(self, windows, told, probed):
        before, during, after = windows
        self.told, self.late_us = told, max(window.late_us for window in windows)
        self.without_us = before.longest_us(0, probed)
        self.with_us = during.longest_us(0, probed)
        self.beyond_us, self.noise_us = self.with_us - self.without_us, after.longest_us(0, probed) - self.without_us
        self.slow_us = [window.longest_us(probed) for window in windows[:2]] if len(before.disks) > probed else None
        self.p999_us = [max(disk["p999_us"] for disk in window.disks[:probed]) for window in windows[:2]]
        self.is_real_time = before.is_real_time


def idle_window(prober, seconds):
    prober.begin()
    time.sleep(seconds)
    return prober.end()


def snapshot_window(prober, server, number):
    prober.begin()
    begun = time.monotonic()
    time.sleep(LEAD_S)
    told = server.snapshot(number)
    time.sleep(TAIL_S)
    length_s = time.monotonic() - begun
    return prober.end(), told, length_s


def measure(prober, server, number, length_s, probed):
    """Returns the length too: windows before a snapshot are as long as the last one's was."""
    before = idle_window(prober, length_s)
    during, told, length_s = snapshot_window(prober, server, number)
    return Measured((before, during, idle_window(prober, length_s)), told, probed), length_s


def run_server(kind, disks, options, snapshots):
    """A new server. With a slow member every snapshot is counted; else the first is not, it says
    how long a window is."""
    names = ["d%d" % i for i in range(disks)]
    probed = names[:PROBED_MAX]
    period_us = max(PERIOD_US, len(probed) * 1000000 // WRITES_A_SECOND)
    with contextlib.ExitStack() as stack:
        server = SERVERS[kind](stack, names, options)
        probes = [("write", period_us, server.uri(name)) for name in probed]
        if options.slow:
            probes.append((options.slow, (DELAY_MS + 10) * 1000, server.uri("slow")))
        prober = stack.enter_context(Prober(probes))
        measured = []
        length_s = SLOW_WINDOW_S if options.slow else snapshot_window(prober, server, 0)[2]
        for number in range(1, 1 + snapshots):
            one, length_s = measure(prober, server, number, length_s, len(probed))
            measured.append(one)
        return measured


def run_round(kind, disks, options):
    snapshots = options.snapshots if disks <= 100 else min(options.snapshots, 5)
    if not options.slow:
        return run_server(kind, disks, options, snapshots)
    # The overlay is not on the slow storage: a server's second snapshot would find no slow member.
    return [run_server(kind, disks, options, 1)[0] for _ in range(snapshots)]


def run_round_or_say(kind, disks, options):
    """A list of the round; empty if a peer failed: with storage that is slow it may well not
    answer."""
    try:
        return [run_round(kind, disks, options)]
    except Failure as failure:
        if kind == "ours" or options.smoke:
            raise
        print("%5d %-14s a round is left out: %s" % (disks, kind, failure), flush=True)
        return []


# ---- the report ----

def report_storage(directory, seconds):
    report = json.loads(run(
        "fio", "--name=alone", "--directory=" + directory, "--size=64m", "--rw=randwrite", "--bs=4k", "--direct=1",
        "--rate_iops=%d" % (WRITES_A_SECOND // 2), "--fsync=8", "--time_based", "--runtime=%d" % seconds,
        "--output-format=json"))
    writes = report["jobs"][0]
    print("the storage alone, %d writes of 4 KiB a second for %d s, each eighth synced: the longest write %.1f ms, sync %.1f" % (
        WRITES_A_SECOND // 2, seconds, writes["write"]["clat_ns"]["max"] / 1e6, writes["sync"]["lat_ns"]["max"] / 1e6))


def p99(values):
    return sorted(values)[min(len(values) * 99 // 100, len(values) - 1)]


def over_rounds(rounds, of_round, value):
    return statistics.median(of_round([value(one) for one in measured]) for measured in rounds)


def told(rounds, key, of_round=statistics.median):
    return over_rounds(rounds, of_round, lambda one: one.told[key])


def report_beyond(disks, kind, rounds):
    columns = [over_rounds(rounds, of_round, value) / 1e3 for value in (
        lambda one: one.without_us, lambda one: one.with_us, lambda one: one.beyond_us, lambda one: one.noise_us)
        for of_round in (statistics.median, p99)]
    worst = [max(value(one) for measured in rounds for one in measured) / 1e3
             for value in (lambda one: one.beyond_us, lambda one: one.noise_us)]
    print("%5d %-14s %8.1f  %7.2f %7.2f  %7.2f %7.2f  %8.2f %8.2f %8.2f  %7.2f %7.2f %7.2f" % (
        disks, kind, told(rounds, "call_ms"), *columns[:6], worst[0], *columns[6:], worst[1]), flush=True)


def report_more(disks, kind, rounds):
    line = "      %-14s p99.9 of requests %.2f ms without, %.2f with; prober late by up to %.2f ms" % (
        "", *(over_rounds(rounds, statistics.median, lambda one, i=i: one.p999_us[i]) / 1e3 for i in range(2)),
        max(one.late_us for measured in rounds for one in measured) / 1e3)
    if kind == "ours":
        waits = [one.told["copy_wait_us"] for measured in rounds for one in measured]
        line += "; pause_us %.0f, worst %d; copy_wait_us %s" % (
            told(rounds, "pause_us"), max(one.told["pause_us"] for measured in rounds for one in measured),
            "not reported" if None in waits else "worst %d" % max(waits))
    else:
        line += "; transaction %.1f ms" % told(rounds, "commit_ms")
    if rounds[0][0].slow_us:
        line += "; slow member %.0f ms without, %.0f with" % tuple(
            over_rounds(rounds, statistics.median, lambda one, i=i: one.slow_us[i]) / 1e3 for i in range(2))
    print(line, flush=True)


def report_head(options):
    print("%s, %d cores, load %.1f; images on %s, runtime directory on %s; %s; prober: write of 4 KiB every %d us a disk, "
          "%d a second in all" % (
              platform.platform(), os.cpu_count(), os.getloadavg()[0], file_system_of(tempfile.gettempdir()),
              "tmpfs" if options.runtime == "memory" else file_system_of(tempfile.gettempdir()),
              run("qemu-storage-daemon", "--version").splitlines()[0], PERIOD_US, WRITES_A_SECOND))
    report_storage(options.kept, 1 if options.smoke else ALONE_S)
    print("%d rounds of %d snapshots%s; medians of rounds, in ms: median and p99 over a round's snapshots, worst over all" % (
        options.rounds, options.snapshots, ", one more member with a %s of %d ms in flight" % (options.slow, DELAY_MS)
        if options.slow else ""))
    print("%5s %-14s %8s  %15s  %15s  %26s  %23s" % (
        "disks", "", "call", "longest without", "longest with", "beyond: median p99 worst", "noise: median p99 worst"),
        flush=True)


def parse():
    parser = argparse.ArgumentParser(description="See the head of this file.")
    parser.add_argument("--disks", type=int, action="append")
    parser.add_argument("--slow", choices=["write", "flush"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--snapshots", type=int)
    parser.add_argument("--qemu-max", type=int, default=64)
    parser.add_argument("--runtime", choices=["memory", "disk"], default="memory")
    parser.add_argument("--smoke", action="store_true", help="so small that it only shows that it works")
    options = parser.parse_args()
    if options.smoke:
        options.disks, options.rounds, options.snapshots = [2], 1, 1
    options.snapshots = options.snapshots or (4 if options.slow else 20)
    options.disks = options.disks or ([8] if options.slow else [1, 8, 64, 1000])
    return options


def main():
    options = parse()
    if options.slow:
        own_mounts()
    with tempfile.TemporaryDirectory(prefix="sg.") as options.kept:
        measure_all(options)


def measure_all(options):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    report_head(options)
    for disks in options.disks:
        kinds = [kind for kind in SERVERS if kind == "ours" or disks <= options.qemu_max]
        results = {kind: [] for kind in kinds}
        for _ in range(options.rounds):
            for kind in kinds:
                results[kind] += run_round_or_say(kind, disks, options)
        for kind in kinds:
            if results[kind]:
                report_beyond(disks, kind, results[kind])
                report_more(disks, kind, results[kind])


main()
