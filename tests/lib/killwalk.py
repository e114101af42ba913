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

from snapgroupd import expect
from strace import Strace, Walk, served_by


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


def ask_and_kill(daemon, kill, find_thread, injection, method, path, body, headers=None):
    connection, thread = find_thread(daemon)
    output = os.path.join(daemon.directory, "strace")
    with Strace(thread, *injection, output=output) as kill.strace:
        try:
            kill.answer = connection.ask(method, path, body, **(headers or {}))
        except (OSError, http.client.HTTPException):
            pass
    connection.close()
    daemon.kill()


def kill_walk(daemon, status, test, find_thread=served_by, first_step=0):
    """test.before(step), with the daemon up; test.request(step) -> (method, path, body[, headers]);
    test.after_kill(kill), with the daemon down; test.after_restart(kill). An answer must have
    `status`. Returns the number of steps, which are counted from `first_step`."""
    began = time.monotonic()
    walk = Walk()

    def step(where, *injection):
        kill = Kill(first_step + walk.steps, where)
        try:
            test.before(kill.step)
            ask_and_kill(daemon, kill, find_thread, injection, *test.request(kill.step))
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
        if step("%s number %d" % (name, number),
                "inject=%s:signal=KILL:when=%d" % (name, number)).answer:
            walk.next_name()
    print("%d kills at %d kinds of call in %.1f s" %
          (walk.steps - len(walk.names), len(walk.names), time.monotonic() - began))
    return walk.steps + 1
