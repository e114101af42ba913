#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Clients that never finish a head, more of them than connections are allowed, on the Unix socket
# and over TCP, exclude no other client, and get 408 in time. With all of 64 descriptors in use REST
# replies, and the daemon does not spin. A client that does not read its replies delays a stop by a
# limited time.
# GET /limits: head_seconds.
import http.client
import os
import re
import resource
import select
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import DEADLINE_S, Daemon, expect, main

SLOW = 700  # of each kind
PLACES = 384 + 256  # server.h: of one user, and of one address
HALF = b"GET /livez HTTP/1.1\r\nHost: localh"
HEAD_S, STOP_S = 10, 10  # connection.h, server.h
QUICK_S = 7  # less than HEAD_S: nobody waits for the place of a slow one


def connect(address):
    peer = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
    peer.settimeout(DEADLINE_S)
    peer.connect(address)
    return peer


def send_half(address):
    peer = connect(address)
    try:
        peer.sendall(HALF)
    except OSError:
        pass  # its place has been given to another one already
    return peer


def answers(daemon, port):
    start = time.monotonic()
    expect(daemon.request("GET", "/livez").status == 200, "no answer on the Unix socket")
    tcp = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    tcp.request("GET", "/livez")
    expect(tcp.getresponse().status == 200, "no answer over TCP")
    tcp.close()
    expect(time.monotonic() - start < QUICK_S, "answers took %.1f s", time.monotonic() - start)


def await_flood(slow):
    """Until all have been accepted, which ends those that are too many. Each is a new thread, which
    on a busy machine takes milliseconds under ThreadSanitizer: it waits until the thread runs. Who
    comes meanwhile waits behind them all."""
    end = time.monotonic() + DEADLINE_S
    poll = select.poll()
    for peer in slow:
        poll.register(peer, select.POLLIN)
    for left in range(len(slow) - PLACES, 0, -1):
        ready = poll.poll(max(0, end - time.monotonic()) * 1000)
        expect(ready, "%d connections are too many, and stay", left)
        poll.unregister(ready[0][0])


def cpu_s(daemon):
    with open("/proc/%d/stat" % daemon.pid) as stat:
        fields = stat.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def slow_heads(daemon, port):
    unix = os.path.join(daemon.runtime, "api.sock")
    slow = [send_half(address) for address in (unix, ("127.0.0.1", port)) for _ in range(SLOW)]
    await_flood(slow)
    answers(daemon, port)
    begun = time.monotonic()
    said = slow[-1].recv(65536)
    expect(said.startswith(b"HTTP/1.1 408 ") and b'"RequestTimeout"' in said, "said to a slow head: %r", said)
    expect(time.monotonic() - begun < HEAD_S + DEADLINE_S / 2, "the deadline of a head is %.0f s",
           time.monotonic() - begun)
    for peer in slow:
        peer.close()


def few_descriptors(daemon, port):
    limits = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (64, limits[1]))
    idle = [connect(os.path.join(daemon.runtime, "api.sock")) for _ in range(100)]
    for _ in range(20):
        answers(daemon, port)
    before = cpu_s(daemon)
    time.sleep(1)  # the span that is measured
    expect(cpu_s(daemon) - before < 0.5, "it spins: %.2f s of CPU in a second", cpu_s(daemon) - before)
    for peer in idle:
        peer.close()
    answers(daemon, port)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)


def slow_reader(daemon):
    with connect(os.path.join(daemon.runtime, "api.sock")) as reader:
        reader.settimeout(1)
        try:
            while True:  # until replies that nobody reads are in its way
                reader.sendall(b"GET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)
        except TimeoutError:
            pass
        start = time.monotonic()
        daemon.stop()
        expect(time.monotonic() - start < STOP_S + DEADLINE_S / 4, "SIGTERM took %.0f s", time.monotonic() - start)


def test():
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with Daemon() as daemon:
        daemon.arguments = ["--listen", "unix:" + os.path.join(daemon.runtime, "api.sock"),
                            "--listen", "127.0.0.1:0"]
        daemon.start()
        port = int(re.search(r"^api 127.0.0.1:(\d+)$", daemon.said, re.M)[1])
        slow_heads(daemon, port)
        few_descriptors(daemon, port)
        slow_reader(daemon)


main(test)
