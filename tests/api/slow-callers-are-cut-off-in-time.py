#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
#
# Who sends half a body, reads no reply or sends no further request is cut off when its time is up,
# and not before. GET /limits: body_seconds, reply_seconds, idle_seconds.
import os
import select
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import DEADLINE_S, Daemon, expect, main

HEAD = b"%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
ASKED = 40  # replies of /openapi.yaml, which are more than a socket takes
SLICE_BYTES = 256 << 10  # for each of a reply the time runs anew


def connect(daemon):
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(DEADLINE_S)
    peer.connect(os.path.join(daemon.runtime, "api.sock"))
    return peer


def await_end(peer, begun, seconds):
    """Waits for the end without reading."""
    poll = select.poll()
    poll.register(peer, select.POLLHUP)
    expect(poll.poll((seconds + DEADLINE_S) * 1000), "no end after %d s", time.monotonic() - begun)
    expect(time.monotonic() - begun >= seconds - 1, "an end after %.1f s", time.monotonic() - begun)
    said = b""
    while part := peer.recv(1 << 20):
        said += part
    return said


def test():
    with Daemon() as daemon:
        daemon.start()
        limits = daemon.get("/limits")
        size = len(daemon.request("GET", "/openapi.yaml").body.encode())
        expect(size < SLICE_BYTES, "a reply of %d bytes", size)
        begun = time.monotonic()
        body, reply, idle = connect(daemon), connect(daemon), connect(daemon)
        body.sendall(b"POST /devices HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
        reply.sendall(HEAD % b"GET /openapi.yaml" * ASKED)
        idle.sendall(HEAD % b"GET /livez")
        said = await_end(body, begun, limits["body_seconds"])
        expect(said.startswith(b"HTTP/1.1 408 ") and b'"RequestTimeout"' in said, "half a body: %r", said)
        said = await_end(idle, begun, limits["idle_seconds"])
        expect(said.startswith(b"HTTP/1.1 200 ") and b" 408 " not in said, "idle: %r", said)
        said = await_end(reply, begun, limits["reply_seconds"])
        expect(0 < len(said) < ASKED * size, "%d bytes were taken", len(said))


main(test)
