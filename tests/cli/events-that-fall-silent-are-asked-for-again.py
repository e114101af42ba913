#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
# label: slow
#
# A stream of events on which nothing comes any more, not even what the daemon sends to show that it
# lives, is given up after half a minute, and asked for again behind the last id. One on which a
# comment comes every ten seconds is not.
import os
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from ctl import SNAPGROUPCTL, FakeServer, environment
from snapgroupd import expect, main, wait_until

BEGIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nid: 7\n\n"
BEAT = b":\n\n"
BEAT_S = 10
SILENCE_S = 30
BEATS = 4  # they take longer than a silence may


class Stream(FakeServer):
    """Sends the beginning of a stream, then a beat now and again, or nothing."""

    def __init__(self, beat):
        super().__init__(lambda request: BEGIN)
        self.beat, self.beats, self.began, self.over = beat, 0, [], threading.Event()

    def request(self, connection, file):
        self.began.append(time.monotonic())
        super().request(connection, file)
        while not self.over.wait(BEAT_S):
            if self.beat:
                connection.sendall(self.beat)
            self.beats += 1
        return False


def follow(server):
    return subprocess.Popen([SNAPGROUPCTL, "--socket", server.path, "events", "--follow"], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())


def test():
    with Stream(None) as silent, Stream(BEAT) as living:
        followers = follow(silent), follow(living)
        wait_until(lambda: len(silent.requests) > 1 and living.beats >= BEATS, "the silent one is asked for again")
        expect(silent.began[1] - silent.began[0] >= SILENCE_S, "that was after %.1f s", silent.began[1] - silent.began[0])
        ids = [request[2].get("last-event-id") for request in silent.requests]
        expect(ids[:2] == [None, "7"], "asked for what is behind %s", ids)
        expect(len(living.requests) == 1, "the living one is asked for %d times", len(living.requests))
        for follower, server in zip(followers, (silent, living)):
            expect(follower.poll() is None, "a follower has ended with %s", follower.returncode)
            follower.terminate()
            output = follower.communicate()[0]
            expect(output == b"", "a follower says %r", output)
            server.over.set()


main(test)
