# SPDX-License-Identifier: Apache-2.0
"""A daemon that dies as one of its threads enters a call that changes something, at a fraction of
what strace costs (seams/killer.c). Only the calls in CHANGES are seen.

    with daemon_to_kill() as daemon:
        daemon.start()
        connection, thread = served_by(daemon)
        with Watch(daemon, thread, "pwrite64", 17) as watch:
            connection.ask("POST", "/snapshot-groups", ...)
"""
import mmap
import os
import struct

from snapgroupd import BUILD_DIR, Daemon, expect, is_sanitized
from strace import CALLS, CHANGES

KILLER = os.path.join(BUILD_DIR, "tests", "libkiller.so")
# struct control: calls, thread, at, number, seen; the order of calls; their counts.
BYTES, THREAD, SEEN, ORDER = 4 * (5 + 2 * len(CHANGES)), 1, 4, 5


class KillableDaemon(Daemon):
    def __init__(self):
        super().__init__()
        path = os.path.join(self.directory, "killer")
        with open(path, "w+b") as file:
            file.truncate(BYTES)
            self.control = memoryview(mmap.mmap(file.fileno(), BYTES)).cast("I")
        self.environment.update(LD_PRELOAD=KILLER, KILLER_CONTROL=path)
        self.kept = None

    def launcher(self):
        return []  # it ends with this process by itself

    def start(self):
        if self.kept:
            self.kept.close()
        self.kept = self.connection()
        for word in range(len(self.control)):
            self.control[word] = 0
        super().start()
        expect(self.control[0] == len(CHANGES), "CHANGES and seams/killer.c differ")

    def request(self, method, path, body=None, **headers):
        """Over one connection for its life, as a thread for each takes time, too."""
        return self.kept.ask(method, path, body, **headers)


def daemon_to_kill():
    """strace is for all calls, and for sanitizers, which want to be the first library."""
    return KillableDaemon() if CALLS == "changes" and not is_sanitized() else Daemon()


class Watch:
    """As Strace. `names`: what the thread called, in the order of its first calls."""

    def __init__(self, daemon, thread, name=None, number=0):
        self.control, self.thread, self.number = daemon.control, thread, number
        self.at = CHANGES.index(name) if name else len(CHANGES)
        self.names, self.last = [], ""

    def __enter__(self):
        for word, value in enumerate((self.at, self.number, 0), start=THREAD + 1):
            self.control[word] = value
        for word in range(ORDER + len(CHANGES), len(self.control)):
            self.control[word] = 0
        self.control[THREAD] = self.thread
        return self

    def __exit__(self, *_):
        self.control[THREAD] = 0
        self.names = [CHANGES[call] for call in self.control[ORDER:ORDER + self.control[SEEN]]]
        self.last = "one of %s" % self.names
