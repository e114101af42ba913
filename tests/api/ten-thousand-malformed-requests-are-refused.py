#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# 10,000 malformed requests (tests/lib/malformed.py), by seed: each gets one problem with a status
# that is right for it. A wrong framing ends the connection, anything else does not. Afterwards the
# daemon works as before: no file was touched, no descriptor and no memory is missing. So over TCP,
# with a token, and over TLS, with a certificate.
# MALFORMED_SEED and MALFORMED_REQUESTS select others.
import json
import os
import random
import socket
import ssl
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from callers import connect_tcp, connect_tls, connect_unix, serve_tls
from malformed import FRAMING, HOST, OTHERS, RARE, SMUGGLED
from openapi import SPEC, fits, validator
from snapgroupd import Daemon, expect, is_sanitized, main, wait_until

SEED = int(os.environ.get("MALFORMED_SEED", "10"))
REQUESTS = int(os.environ.get("MALFORMED_REQUESTS", "10000"))
WARM_UP = 1000  # requests after which the memory of the daemon is taken
GROWTH_KIB = 8192
PROBLEM = validator(SPEC["components"]["schemas"]["Problem"])


class Peer:
    """One connection at a time, kept while the daemon keeps it."""

    def __init__(self, connect):
        self.connect = connect
        self.socket = None
        self.input = None

    def ask(self, raw):
        """Sends a request; returns the reply's status, header and body."""
        if not self.socket:
            self.socket = self.connect()
            self.input = self.socket.makefile("rb")
        try:
            self.socket.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was read: the reply is there
        status = self.input.readline().split(b" ")
        expect(status[0] == b"HTTP/1.1", "no reply")
        header = {}
        for line in iter(self.input.readline, b"\r\n"):
            name, value = line.decode().rstrip("\r\n").split(": ", 1)
            header[name.lower()] = value
        return int(status[1]), header, self.input.read(int(header["content-length"]))

    def close(self):
        """Returns what the daemon sent beyond the reply."""
        try:
            if not isinstance(self.socket, ssl.SSLSocket):  # there it would end TLS
                self.socket.shutdown(socket.SHUT_WR)
            return self.input.read()
        except OSError:
            return b""
        finally:
            self.input.close()
            self.socket.close()
            self.socket = None


def refused(peer, kind, raw, statuses):
    is_framing = kind in FRAMING or kind in RARE
    status, header, body = peer.ask(raw + SMUGGLED if is_framing else raw)
    where = "%s: %r: %d %s" % (kind.__name__, raw[:200], status, body[:300])
    expect(status in statuses, "%s", where)
    expect(header["content-type"] == "application/problem+json", "%s", where)
    problem = json.loads(body)
    fits(problem, None, where, PROBLEM)
    expect(problem["status"] == status and not problem["retryable"], "%s", where)
    expect((header.get("connection") == "close") == is_framing, "%s: %s", where, header)
    expect(status != 405 or header["allow"], "%s", where)
    if is_framing:
        expect(not peer.close(), "%s: a second reply", where)


def files(daemon):
    """Every image with its identity, and the directory's."""
    paths = [daemon.images] + [daemon.image(name) for name in daemon.image_names()]
    return {path: (os.stat(path).st_ino, os.stat(path).st_size, os.stat(path).st_mtime_ns) for path in paths}


def descriptors(daemon):
    return len(os.listdir("/proc/%d/fd" % daemon.process.pid))


def memory_kib(daemon):
    with open("/proc/%d/status" % daemon.process.pid, encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def walk(daemon, connect, name, header=b""):
    """`header` is added to each request that has a Host."""
    generator = random.Random("%d %s" % (SEED, name))
    peer, before = Peer(connect), 0
    for number in range(REQUESTS):
        if number == min(WARM_UP, REQUESTS // 2):
            before = memory_kib(daemon)
        kinds = RARE if generator.random() < 0.002 else FRAMING if generator.random() < 0.35 else OTHERS
        kind = generator.choice(kinds)
        raw, statuses = kind(generator)
        refused(peer, kind, raw.replace(HOST, HOST + header, 1), statuses)
    if peer.socket:
        peer.input.close()
        peer.socket.close()
    growth = memory_kib(daemon) - before
    expect(is_sanitized() or growth <= GROWTH_KIB, "%s: %d KiB of memory are missing", name, growth)


def test():
    with Daemon(arguments=("--log-level", "warning")) as daemon:
        daemon.listen_on_tcp()
        context = serve_tls(daemon)
        daemon.start()
        token = daemon.create_token("test", "admin")
        daemon.create_device("vda", "raw", 1 << 20)
        seen = files(daemon), daemon.get("/devices")
        daemon.get("/livez")
        was = descriptors(daemon)
        walk(daemon, lambda: connect_unix(daemon), "unix")
        walk(daemon, lambda: connect_tcp(daemon.port), "tcp", b"Authorization: Bearer %s\r\n" % token.encode())
        walk(daemon, lambda: connect_tls(daemon, context), "tls")
        wait_until(lambda: descriptors(daemon) <= was, "descriptors are closed")
        now = files(daemon), daemon.get("/devices")
        expect(now == seen, "files or devices: %s, were %s", now, seen)
        expect(not [group for group in daemon.list("/snapshot-groups") if group["state"] != "aborted"], "a group exists")


main(test)
