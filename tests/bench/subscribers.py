#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""What subscribers of the events cost a group, and a stop.

usage: subscribers.py [ROUNDS [GROUPS]]    (default: 5 rounds of 10 groups)

Two daemons: one has 1,000 streams of GET /events, 100 of which never read and have more to read
than their sockets hold; the other one has none. In each round both take GROUPS groups of 4 disks in
turn, with a pause between two, as clients on a schedule leave; then GROUPS each without a pause, so
that the events of one group are sent while the next one runs. So chains are as deep, as many events
are stored, and other work on the machine is as much, on both sides. The readers are a process of
their own, which takes the time that others leave; all get every event. `chrt -f 10 subscribers.py`
keeps other work out.

Printed are the median times of a group, their ratio, and what SIGTERM takes with all streams open.
"""
import os
import resource
import select
import signal
import socket
import statistics
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from peers import arguments  # noqa: E402
from snapgroupd import Daemon, wait_until  # noqa: E402

READERS, DEAF, BACKLOG = 900, 100, 20000
PAUSE_S = 0.1
QUIET = ("--log-level", "warning")
DISKS = ["vda", "vdb", "vdc", "vdd"]


def subscribe_once(daemon, query):
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(os.path.join(daemon.runtime, "api.sock"))
    stream.sendall(b"GET /events%s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n" % query)
    if stream.recv(4096).startswith(b"HTTP/1.1 200"):
        return stream
    stream.close()
    return None


def subscribe(daemon, query):
    """One after the other, as so many connections at once are refused; again while the daemon has
    not yet noticed that those from before are gone."""
    return wait_until(lambda: subscribe_once(daemon, query), "another stream")


def read_on(streams, told):
    """Writes a byte to `told` when every stream has brought another group.committed."""
    poll, rest, seen, groups = select.epoll(), dict.fromkeys(streams, b""), dict.fromkeys(streams, 0), 0
    for number in streams:
        poll.register(number, select.EPOLLIN)
    os.write(told, b".")
    while True:
        for number, _ in poll.poll():
            part = streams[number].recv(65536)
            if not part:
                return
            *messages, rest[number] = (rest[number] + part).split(b"\n\n")
            seen[number] += sum(b"event: group.committed" in message for message in messages)
        if min(seen.values()) > groups:
            groups += 1
            os.write(told, b".")


def take_what_is_left():
    if os.sched_getscheduler(0) == os.SCHED_FIFO:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    else:
        os.nice(19)


class Subscribers:
    """All of them, for as long as the block lasts. wait() until the readers have the next group."""

    def __init__(self, daemon):
        self.daemon = daemon

    def __enter__(self):
        self.told, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                take_what_is_left()
                streams = [subscribe(self.daemon, b"") for _ in range(READERS)]
                read_on({stream.fileno(): stream for stream in streams}, told)
            finally:
                os._exit(0)
        os.close(told)
        self.deaf = [subscribe(self.daemon, b"?after=0") for _ in range(DEAF)]
        self.wait()
        time.sleep(1)  # until the sockets of the deaf are full
        return self

    def wait(self):
        if os.read(self.told, 1) != b".":
            raise SystemExit("the readers have ended")

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.told)
        for stream in self.deaf:
            stream.close()


def take(daemon, name):
    began = time.monotonic()
    daemon.snapshot(name, DISKS)
    return (time.monotonic() - began) * 1000


class Sides:
    """The times of groups, without subscribers and beside them."""

    def __init__(self, what):
        self.what, self.alone, self.beside = what, [], []

    def print(self):
        alone, beside = statistics.median(self.alone), statistics.median(self.beside)
        print("a group, %s: %.1f ms alone, %.1f ms beside %d subscribers: %.3f" % (
            self.what, alone, beside, READERS + DEAF, beside / alone))


def take_round(paced, unpaced, lonely, crowded, count, number):
    """Who comes first changes from one round to the next."""
    sides = [(lonely, paced.alone, unpaced.alone), (crowded, paced.beside, unpaced.beside)]
    sides = sides[::-1] if number % 2 else sides
    for turn in range(count):
        for daemon, times, _ in sides:
            times.append(take(daemon, "paced%d-%d" % (number, turn)))
            time.sleep(PAUSE_S)
    for daemon, _, times in sides:
        times += [take(daemon, "unpaced%d-%d" % (number, turn)) for turn in range(count)]
        time.sleep(PAUSE_S)


def begin(daemon):
    daemon.start()
    for name in DISKS:
        daemon.create_device(name, "qcow2", 64 << 20)
    with daemon.stopped_database() as database:
        database.executemany("INSERT INTO events (at_us, kind, actor, detail) "
                             "VALUES (strftime('%s') * 1000000, 'device.failed', 'bench', ?)", [("{}",)] * BACKLOG)


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rounds, count = arguments(10, "%d groups")
    with Daemon(arguments=QUIET) as lonely, Daemon(arguments=QUIET) as crowded:
        begin(lonely)
        begin(crowded)
        paced, unpaced = Sides("%.1f s after the last" % PAUSE_S), Sides("back to back")
        for number in range(rounds):
            with Subscribers(crowded) as subscribers:
                take_round(paced, unpaced, lonely, crowded, count, number)
                for _ in range(2 * count):
                    subscribers.wait()
        paced.print()
        unpaced.print()
        with Subscribers(crowded):
            began = time.monotonic()
            crowded.stop()
            print("SIGTERM: %.2f s" % (time.monotonic() - began))


main()
