# SPDX-License-Identifier: Apache-2.0
"""Faults from outside, without a change of the daemon: strace on one of its threads.

Each connection to the REST socket has its own thread, so strace on that thread sees the system
calls of the request on that connection, and no others. `when=K` counts the calls of one name:

    connection, thread = served_by(daemon)
    with Strace(thread, "inject=pwrite64:signal=KILL:when=17", output=...):
        connection.ask("POST", "/snapshot-groups", ...)

A group runs on a thread of its own, which run_by() finds. So a test reaches every call of a request
by walking over the names, and for each name over K (Walk).

With CRASH_STRIDE the walk takes every STRIDEth call only, from CRASH_FIRST on, so that several runs
of a slow daemon share it. CRASH_CALLS=changes has it take only the calls that a restart or a client
could notice; CRASH_CALLS=all, every call.
"""
import contextlib
import itertools
import os
import re
import select
import signal
import subprocess
import time

from snapgroupd import DEADLINE_S, expect, wait_until

STRIDE = int(os.environ.get("CRASH_STRIDE", "1"))
FIRST = int(os.environ.get("CRASH_FIRST", "1"))
CALLS = os.environ.get("CRASH_CALLS")
CHANGES = ("fallocate", "fchmod", "fdatasync", "fremovexattr", "fsetxattr", "fsync", "ftruncate", "io_uring_enter", "linkat",
           "mkdirat", "openat", "openat2", "pwrite64", "pwritev", "renameat2", "sendmsg", "sendto", "unlink", "unlinkat", "write",
           "writev")


def threads(pid):
    """Lists until two lists agree: the kernel ends a list early where the thread at which it is
    ends, and later ones are left out."""
    last, now = None, set()
    while now != last:
        last, now = now, set(os.listdir("/proc/%d/task" % pid))
    return now


def thread_name(pid, thread):
    try:
        with open("/proc/%d/task/%s/comm" % (pid, thread)) as comm:
            return comm.read().strip()
    except OSError:
        return None  # it has ended


def threads_named(pid, name):
    return [int(thread) for thread in threads(pid) if thread_name(pid, thread) == name]


def served_by(daemon):
    """A fresh keep-alive connection and the id of the one thread that serves it."""
    before = set(threads_named(daemon.pid, "http-conn"))
    connection = daemon.connection()
    answer = connection.ask("GET", "/livez")
    expect(answer.status == 200, "GET /livez: %s", answer)
    new = set(threads_named(daemon.pid, "http-conn")) - before
    expect(len(new) == 1, "%d new threads serve one new connection", len(new))
    return connection, new.pop()


def await_idle_runs(daemon):
    """A group's call may return before the thread that runs it is free: a group that comes until
    then gets another one."""
    def are_idle():
        for thread in threads_named(daemon.pid, "group-run"):
            with contextlib.suppress(OSError), open("/proc/%d/task/%d/wchan" % (daemon.pid, thread)) as place:
                if "futex" not in place.read():
                    return False
        return True
    wait_until(are_idle, "threads of groups to be idle")


def run_by(daemon):
    """A fresh connection and the id of the one thread that runs the groups of its requests."""
    while True:
        await_idle_runs(daemon)
        connection, _ = served_by(daemon)
        # Which starts the thread.
        answer = connection.ask("POST", "/snapshot-groups", {"devices": []})
        expect(answer.status == 422, "a group of nobody: %s", answer)
        named = threads_named(daemon.pid, "group-run")
        if len(named) == 1:
            return connection, named[0]
        connection.close()
        daemon.restart()  # one that had answered before was not idle yet, so there are two


class Strace:
    """strace attached to one thread, or to all of its process, for as long as the block lasts.
    `lines` is what it saw, afterwards."""

    def __init__(self, thread, *expressions, output, all_threads=False):
        self.output = output
        self.command = ["strace", "-y", *["-f"] * all_threads, "-p", str(thread), "-o", output]
        for expression in expressions:
            self.command += ["-e", expression]
        self.lines = []

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.monotonic() + DEADLINE_S
        said = b""
        while b" attached" not in said:
            readable, _, _ = select.select([self.process.stderr], [], [], max(end - time.monotonic(), 0))
            expect(readable, "strace did not attach within %d s: %s", DEADLINE_S, said)
            part = os.read(self.process.stderr.fileno(), 4096)
            expect(part, "strace cannot attach: %s", said.decode())
            said += part
        return self

    def __exit__(self, *_):
        wait_until(self.has_detached, "strace to detach")
        self.process.stderr.close()
        with open(self.output, errors="replace") as output:
            self.lines = output.read().splitlines()

    def has_detached(self):
        """Tells it to detach, and the thread runs on. strace looks whether it was told to before it
        waits for the thread: a signal between the two is lost if the thread sleeps."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(1)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def names(self):
        """The names of the calls, in order of their first appearance."""
        names = [re.match(r"(\w+)\(", line) for line in self.lines]
        names = [name.group(1) for name in names if name and name.group(1) != "restart_syscall"]
        return list(dict.fromkeys(names))

    @property
    def injected(self):
        """The call that failed by our hand, or None."""
        lines = [line for line in self.lines if "(INJECTED)" in line]
        return lines[0] if lines else None

    @property
    def last(self):
        """The call that it ended with."""
        calls = [line for line in self.lines if "(" in line]
        return calls[-1] if calls else ""


class Walk:
    """Which calls to spoil: for every name that any trace has shown, the 1st, 2nd, 3rd, ... until
    the test says that there are no more. Names that turn up on the way join the walk.

        for name, number in walk:
            ... walk.saw(strace.names) ... if it was not reached: walk.next_name()
    """

    def __init__(self, is_wanted=lambda name: True, stride=STRIDE, calls="all"):
        self.is_wanted = is_wanted
        self.stride = stride
        self.calls = CALLS or calls
        self.names = []
        self.has_ended = False
        self.steps = 0

    def saw(self, names):
        self.names += [name for name in names if name not in self.names and self.is_wanted(name) and
                       (self.calls == "all" or name in CHANGES)]

    def next_name(self):
        self.has_ended = True

    def __iter__(self):
        for position in itertools.count():
            if position == len(self.names):
                return
            self.has_ended = False
            number = 1 + (FIRST - 1 + 3 * position) % self.stride
            while not self.has_ended:
                self.steps += 1
                yield self.names[position], number
                number += self.stride

    def inject(self, step, error):
        """Has each call fail in a step(number, expression) of its own; the first one is without a
        fault. How many calls failed."""
        points = 0
        self.saw(step(0).names)
        for name, number in self:
            strace = step(self.steps, "inject=%s:error=%s:when=%d" % (name, error, number))
            self.saw(strace.names)
            points += strace.injected is not None
            if not strace.injected:
                self.next_name()
        return points
