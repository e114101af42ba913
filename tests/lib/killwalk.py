# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at every system call of one request.

The request is repeated; each time the daemon is killed as it enters another call of a thread that
serves the request (see strace.py), until every call has been the last. The test verifies the state
after each kill and after the restart that follows.
"""
import http.client
import os
import sys
import time

from gates import Call
from killer import KillableDaemon, Watch
from snapgroupd import BUILD_DIR, DEADLINE_S, Daemon, expect, wait_until
from strace import Strace, Walk, served_by, threads_named


class Kill:
    """What one step saw: its number, where the daemon was to die, the answer (None if it died
    before)."""

    def __init__(self, step, where):
        self.step = step
        self.where = where
        self.answer = None
        self.strace = None

    def __str__(self):
        return "step %d, killed at %s: %s" % (self.step, self.where, self.strace and self.strace.last)


class PatientConnection:
    """Its answer comes when the job has ended."""

    def __init__(self, connection):
        self.connection = connection

    def ask(self, method, path, body, **headers):
        answer = self.connection.ask(method, path, body, **headers)
        expect(answer.status == 202, "%s %s: %s", method, path, answer)
        wait_until(lambda: self.connection.ask("GET", answer.headers["Location"]).body["state"] not in
                   ("queued", "running"), "the job to end")
        return answer

    def close(self):
        self.connection.close()


def daemon_with_jobs_alone():
    """Its pushes write in the thread of the job."""
    return Daemon(os.path.join(BUILD_DIR, "tests", "snapgroupd-jobs-alone"))


def jobs_of(daemon):
    """A fresh connection and the id of the thread that runs jobs while there is one at a time."""
    named = threads_named(daemon.pid, "jobs")
    expect(len(named) == 1, "%d threads run jobs", len(named))
    return PatientConnection(daemon.connection()), named[0]


def watch(daemon, thread, call):
    """call: (name, number) at which the daemon is killed; (): none."""
    if isinstance(daemon, KillableDaemon):
        return Watch(daemon, thread, *call)
    injection = ["inject=%s:signal=KILL:when=%d" % call] if call else []
    return Strace(thread, *injection, output=os.path.join(daemon.directory, "strace"))


def ask_and_kill(daemon, kill, find_thread, call, method, path, body, headers=None):
    connection, thread = find_thread(daemon)
    with watch(daemon, thread, call) as kill.strace:
        try:
            kill.answer = connection.ask(method, path, body, **(headers or {}))
        except (OSError, http.client.HTTPException):
            pass
    connection.close()
    daemon.kill()


def ask_and_kill_at(gate, thread_name):
    """The same for the thread of that name that comes to the gate while the request runs, from
    there on; the daemon is a GatedDaemon."""
    def ask(daemon, kill, _, killed_at, method, path, body, headers=None):
        daemon.close_gate(gate)
        call = Call(daemon, method, path, body, **(headers or {}))
        daemon.await_gate(gate)
        thread = wait_until(lambda: (lambda named: len(named) == 1 and named[0])(threads_named(daemon.pid, thread_name)),
                            "one thread to be left")
        with watch(daemon, thread, killed_at) as kill.strace:
            daemon.open_gate(gate)
            call.join(DEADLINE_S)
            kill.answer = call.result
        daemon.kill()
        daemon.forget_gate(gate)
    return ask


def is_of_daemon(name):
    """Not of a gate."""
    return name not in ("access", "clock_nanosleep", "restart_syscall")


def kill_walk(daemon, status, test, find_thread=served_by, first_step=0, ask=ask_and_kill, calls="changes"):
    """Of the thread's calls: "changes", since a kill at any other finds what the next one finds, or
    "all"; CRASH_CALLS decides.

    test.before(step), with the daemon up; test.request(step) -> (method, path, body[, headers]);
    test.after_kill(kill), with the daemon down; test.after_restart(kill). An answer must have
    `status`. Returns the number of steps, which are counted from `first_step`."""
    began = time.monotonic()
    walk = Walk(is_of_daemon, calls=calls)

    def step(where, *call):
        kill = Kill(first_step + walk.steps, where)
        try:
            test.before(kill.step)
            ask(daemon, kill, find_thread, call, *test.request(kill.step))
            expect(not kill.answer or kill.answer.status == status, "answered %s", kill.answer)
            test.after_kill(kill)
            daemon.start()
            test.after_restart(kill)
        except Exception:
            sys.stderr.write("%s\n" % kill)
            raise
        walk.saw(kill.strace.names)
        return kill

    kill = step("none of its calls")
    expect(kill.answer, "there is no answer even without a fault")
    for name, number in walk:
        if step("%s number %d" % (name, number), name, number).answer:
            walk.next_name()
    print("%d kills at %d kinds of call in %.1f s" %
          (walk.steps - len(walk.names), len(walk.names), time.monotonic() - began))
    return walk.steps + 1


def kill_walks(daemon, status, test, *find_threads):
    """A walk for each thread of the request. Returns the number of all steps."""
    steps = 0
    for find_thread in find_threads:
        steps += kill_walk(daemon, status, test, find_thread, steps)
    return steps
