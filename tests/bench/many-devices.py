#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
# timeout: 7200
"""What many devices cost: attaching, memory, group snapshots, restarts.

usage: many-devices.py [--devices N]... [--depth 8] [--rounds 5] [--smoke]

For each N (1, 100, 1000 and 10000) a daemon gets N empty qcow2 images, its runtime directory on
tmpfs. Reported are

    attach    POST /devices of an image, one connection: the first call, and the median of the last
              ten; with a daemon of its own for each round, of which the medians are taken
    create    the same with `size_bytes`: the image is created
    memory    of the daemon, less what it has without devices: per idle device; and, less what it
              has at depth 1, per image that group snapshots of all devices have frozen (up to a
              depth of 8, N up to 1000), just frozen, and opened by a restart. PSS and anonymous
              memory
    group     POST /snapshot-groups of all N idle devices, medians of the rounds, on tmpfs and on a
              disk (N up to 1000)
    restart   from exec to 200 of GET /readyz, after SIGKILL: idle at depth 1 and at that depth; and
              there in `committing` of a group of all devices

Nothing else does this alike: there is no peer.
"""
import argparse
import contextlib
import os
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
os.environ.setdefault("DEADLINE_S", "600")  # a thousand devices on a busy disk take their time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from runtimes import file_system_of, use_memory_runtime  # noqa: E402
from snapgroupd import BUILD_DIR, SNAPGROUPD, Daemon, expect, group_body, run, wait_until  # noqa: E402

SIZE_BYTES = 64 << 20
GROUP_MAX = 1000
DEADLINE_MS = 600000
ENDS = 10  # devices at each end of a row of attachments
GATED = os.path.join(BUILD_DIR, "tests", "snapgroupd-gated-steps")
# Steps of a group behind its point of no return, whichever of them the gated daemon has.
COMMITTING_STEPS = ("pivot", "cut", "committed")


class Bench:
    """A daemon with images for N devices."""

    def __init__(self, stack, devices, in_memory=True, **more):
        self.names = ["d%d" % i for i in range(devices)]
        self.daemon = stack.enter_context(Daemon(**more))
        if in_memory:
            use_memory_runtime(stack, self.daemon)
        self.groups = 0
        model = os.path.join(self.daemon.directory, "model.qcow2")
        run("qemu-img", "create", "-q", "-f", "qcow2", model, str(SIZE_BYTES))
        for name in self.names:
            shutil.copyfile(model, self.daemon.image(name + ".qcow2"))

    def attach(self, prefix="", **more):
        """The times of all calls in ms."""
        times, connection = [], self.daemon.connection()
        for name in self.names:
            name = prefix + name
            begun = time.monotonic()
            answer = connection.ask("POST", "/devices", {"name": name, "image": name + ".qcow2", "format": "qcow2", **more})
            times.append((time.monotonic() - begun) * 1e3)
            expect(answer.status == 201, "POST /devices: %s", answer)
        connection.close()
        return times

    def next_group(self):
        self.groups += 1
        return group_body("g%d" % self.groups, self.names)

    def snapshot(self):
        """What it took in ms until the group was committed."""
        connection, begun = self.daemon.connection(), time.monotonic()
        answer = connection.ask("POST", "/snapshot-groups", {**self.next_group(), "deadline_ms": DEADLINE_MS})
        expect(answer.status in (201, 202), "POST /snapshot-groups: %s", answer)
        if answer.body["state"] != "committed":
            wait_until(lambda: self.daemon.get("/snapshot-groups/" + answer.body["id"])["state"] == "committed", "the group")
        took_ms = (time.monotonic() - begun) * 1e3
        connection.close()
        return took_ms

    def memory(self):
        """(PSS, anonymous memory) of the daemon in KiB."""
        with open("/proc/%d/smaps_rollup" % self.daemon.pid) as file:
            lines = dict(line.split(":") for line in file.readlines()[1:])
        return tuple(int(lines[key].split()[0]) for key in ("Pss", "Anonymous"))

    def start(self):
        """Seconds from exec until it is ready."""
        begun = time.monotonic()
        self.daemon.start()
        wait_until(lambda: self.daemon.request("GET", "/readyz").status == 200, "GET /readyz")
        return time.monotonic() - begun

    def kill_in_committing(self, gates):
        """The daemon is the gated one."""
        for step in COMMITTING_STEPS:
            with open(os.path.join(gates, step + ".closed"), "w"):
                pass
        body = {**self.next_group(), "deadline_ms": DEADLINE_MS}
        call = threading.Thread(target=self.ask_in_vain, args=(body,), daemon=True)
        call.start()
        wait_until(lambda: any(os.path.exists(os.path.join(gates, step + ".reached")) for step in COMMITTING_STEPS),
                   "the group to be committing")
        self.daemon.kill()
        call.join()

    def ask_in_vain(self, body):
        with contextlib.suppress(Exception):  # the daemon is killed
            self.daemon.request("POST", "/snapshot-groups", body)


def per(before, after, count):
    return " ".join("%.1f" % ((end - begin) / count) for begin, end in zip(before, after))


def attached(stack, devices, **more):
    """A daemon with all its devices, what it used without them, and the times of attaching."""
    bench = Bench(stack, devices, **more)
    bench.start()
    empty = bench.memory()
    return bench, empty, bench.attach()


def report_attaching(devices, rounds):
    first, last, memory = [], [], []
    for _ in range(rounds):
        with contextlib.ExitStack() as stack:
            bench, empty, times = attached(stack, devices)
            first.append(times[0])
            last.append(statistics.median(times[-ENDS:]))
            memory.append(per(empty, bench.memory(), devices))
    print("%6d  attach: first %.1f ms, last %.1f ms; memory a device, idle: %s KiB (PSS, anonymous)" % (
        devices, statistics.median(first), statistics.median(last), sorted(memory)[len(memory) // 2]), flush=True)


def report_creating(devices, rounds):
    first, last = [], []
    for _ in range(rounds):
        with contextlib.ExitStack() as stack:
            bench = Bench(stack, devices)
            bench.start()
            times = bench.attach("new-", size_bytes=SIZE_BYTES)
            first.append(times[0])
            last.append(statistics.median(times[-ENDS:]))
    print("%6d  create: first %.1f ms, last %.1f ms" % (devices, statistics.median(first), statistics.median(last)), flush=True)


def report_depth(devices, depth):
    """Memory of frozen images, and restarts."""
    gates = tempfile.TemporaryDirectory(prefix="sg.")
    with gates, contextlib.ExitStack() as stack:
        bench, _, _ = attached(stack, devices, executable=GATED, environment={"STEP_GATES": gates.name})
        frozen = devices * (depth - 1)
        bench.daemon.kill()
        flat_s, flat_restarted = bench.start(), bench.memory()
        for _ in range(depth - 1):
            bench.snapshot()
        just_frozen = per(flat_restarted, bench.memory(), frozen)
        bench.daemon.kill()
        idle_s = bench.start()
        print("%6d  memory a frozen image, depth %d: just frozen %s, after a restart %s KiB (PSS, anonymous)" % (
            devices, depth, just_frozen, per(flat_restarted, bench.memory(), frozen)), flush=True)
        bench.kill_in_committing(gates.name)
        bench.daemon.executable = SNAPGROUPD
        print("%6d  restart after SIGKILL: idle at depth 1 %.2f s, at depth %d %.2f s; in committing of a group of all " % (
            devices, flat_s, depth, idle_s), end="", flush=True)
        print("%.2f s" % bench.start(), flush=True)


def report_groups(devices, rounds):
    line = []
    for in_memory in (True, False):
        with contextlib.ExitStack() as stack:
            bench, _, _ = attached(stack, devices, in_memory=in_memory)
            bench.snapshot()  # the first one finds everything cold
            took_ms = [bench.snapshot() for _ in range(rounds)]
            line.append("%.1f ms (%.1f to %.1f)" % (statistics.median(took_ms), min(took_ms), max(took_ms)))
    print("%6d  group: runtime directory on tmpfs %s, on a disk %s" % (devices, *line), flush=True)


def parse():
    parser = argparse.ArgumentParser(description="See the head of this file.")
    parser.add_argument("--devices", type=int, action="append")
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="so small that it only shows that it works")
    options = parser.parse_args()
    if options.smoke:
        options.devices, options.depth, options.rounds = [2], 2, 1
    options.devices = options.devices or [1, 100, 1000, 10000]
    return options


def main():
    options = parse()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print("%s, %d cores, load %.1f; images on %s; %d descriptors; medians of %d rounds" % (
        platform.platform(), os.cpu_count(), os.getloadavg()[0], file_system_of(tempfile.gettempdir()), hard,
        options.rounds), flush=True)
    for devices in options.devices:
        rounds = options.rounds if devices <= GROUP_MAX else 1
        report_attaching(devices, rounds)
        report_creating(devices, rounds)
        if devices <= GROUP_MAX:
            report_groups(devices, options.rounds)
            report_depth(devices, options.depth)


main()
