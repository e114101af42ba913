# SPDX-License-Identifier: Apache-2.0
"""A daemon whose groups wait at a step as long as a test wants (seams/gated-steps.c).

    with GatedDaemon() as daemon:
        daemon.start()
        daemon.close_gate("prepare")
        call = Call(daemon, "POST", "/snapshot-groups", {...})
        daemon.await_gate("prepare")
        daemon.open_gate("prepare")
        answer = call.answer()
"""
import concurrent.futures
import contextlib
import http.client
import os
import threading

from snapgroupd import BUILD_DIR, DEADLINE_S, Daemon, expect, wait_until

# In the order in which a group passes them; "abort" is on the other way.
STEPS = ("begin", "insert", "prepare", "committing", "cut", "finish", "committed")


class GatedDaemon(Daemon):
    def __init__(self):
        super().__init__(os.path.join(BUILD_DIR, "tests", "snapgroupd-gated-steps"))
        self.gates = os.path.join(self.directory, "gates")
        self.environment["STEP_GATES"] = self.gates
        os.mkdir(self.gates)

    def close_gate(self, step):
        with open(os.path.join(self.gates, step + ".closed"), "w"):
            pass

    def open_gate(self, step):
        os.unlink(os.path.join(self.gates, step + ".closed"))

    def forget_gate(self, step):
        """Of a daemon that was killed before it passed."""
        for state in ("closed", "reached"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.gates, "%s.%s" % (step, state)))

    def is_at_gate(self, step):
        return os.path.exists(os.path.join(self.gates, step + ".reached"))

    def await_gate(self, step):
        wait_until(lambda: self.is_at_gate(step), "a group at " + step)

    def await_state(self, group, state):
        """Waits until the group, by id or name, has the state, and returns it."""
        def look():
            answer = self.request("GET", "/snapshot-groups/" + group)
            return answer.body if answer.status == 200 and answer.body["state"] == state else None
        return wait_until(look, "group %s is %s" % (group, state))


@contextlib.contextmanager
def snapshot_around(daemon, name, names):
    """What is done in it is done while only the first disk is armed (seams/slow-arming.c)."""
    gate = daemon.environment["ARM_GATE"]
    with concurrent.futures.ThreadPoolExecutor() as threads:
        answer = threads.submit(daemon.snapshot, name, names)
        try:
            wait_until(lambda: os.path.exists(gate + ".reached"), "the first disk is cut")
            yield
        finally:
            with open(gate, "x"):
                pass
        answer.result()
    os.unlink(gate)
    os.unlink(gate + ".reached")


class Call(threading.Thread):
    """A request on a connection and thread of its own."""

    def __init__(self, daemon, method, path, body=None, **headers):
        super().__init__(daemon=True)
        self.parameters, self.headers = (method, path, body), headers
        self.on, self.result = daemon, None
        self.start()

    def run(self):
        try:
            self.result = self.on.request(*self.parameters, **self.headers)
        except (OSError, http.client.HTTPException):
            pass  # the daemon was killed

    def answer(self):
        self.join(DEADLINE_S)
        expect(self.result, "%s %s is not answered", *self.parameters[:2])
        return self.result
