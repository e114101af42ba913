#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# What is retryable is sent again, after Retry-After, with the same Idempotency-Key, and what is not
# is sent once. A conflict is tried again only with --timeout. A daemon that hangs, hangs up, or is
# not there ends a command in time, with status 5. A daemon that is killed between request and reply
# has made one group, whatever step that was at, and the command ends well; so it does if only the
# reply is lost.
import json
import os
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from ctl import FakeServer, ctl, reply
from gates import GatedDaemon
from snapgroupd import DEADLINE_S, Daemon, expect, main

TAKE = ("group", "take", "g", "vda", "vdb")


def problem(status, code, retryable, **headers):
    return reply(status, json.dumps({"type": "about:blank", "title": "T", "status": status, "detail": "no", "code": code,
                                     "instance": "/", "retryable": retryable}), "application/problem+json", **headers)


def attempts(replies, *arguments):
    """Gives these replies, the last one again and again; returns (done, requests, seconds)."""
    left = list(replies)
    with FakeServer(lambda request: left.pop(0) if len(left) > 1 else left[0]) as server:
        begin = time.monotonic()
        done = ctl(server.path, *arguments)
        return done, server.requests, time.monotonic() - begin


def retries():
    device = reply(201, '{"name":"vda","state":"online"}')
    create = ("device", "create", "vda", "--size", "1M")
    done, requests, seconds = attempts([problem(503, "NotReady", True, Retry_After=1), None, device], *create)
    expect(done.status == 0 and len(requests) == 3 and seconds >= 1, "%s after %d", done, len(requests))
    keys = {request[2].get("idempotency-key") for request in requests}
    expect(len(keys) == 1 and None not in keys and len(min(keys)) > 16, "keys: %s", keys)
    expect(len({request[3] for request in requests}) == 1, "other bodies: %s", requests)
    done, again, _ = attempts([device], *create)
    expect(again[0][2]["idempotency-key"] not in keys, "the next command has the same key")
    done, requests, _ = attempts([device], *create, "--idempotency-key", "mine")
    expect(requests[0][2]["idempotency-key"] == '"mine"', "%s", requests)

    for status, code, rc in ((400, "UnknownField", 1), (403, "Forbidden", 1), (409, "DeviceExists", 4), (500, "InternalError", 1)):
        done, requests, _ = attempts([problem(status, code, False)], *create)
        expect(done.status == rc and len(requests) == 1, "%s after %d requests: %s", code, len(requests), done)
    done, requests, _ = attempts([problem(409, "DeviceInUse", True)], *create)
    expect(done.status == 4 and len(requests) == 1, "a conflict is tried %d times", len(requests))
    done, requests, _ = attempts([problem(409, "DeviceInUse", True), device], *create, "--timeout", "20")
    expect(done.status == 0 and len(requests) == 2, "with --timeout: %s", done)
    done, requests, seconds = attempts([problem(503, "StoreFailed", True, Retry_After=1)], *create, "--timeout", "5.5")
    expect(done.status == 5 and 2 <= len(requests) <= 6 and seconds < 13, "%s after %d requests", done, len(requests))
    done, requests, seconds = attempts([problem(503, "NotReady", True, Retry_After=3600)], *create, "--timeout", "5")
    expect(done.status == 5 and len(requests) == 1 and seconds < 5, "%s after %d requests, %d s", done, len(requests), seconds)


def nobody():
    with FakeServer(lambda request: b"") as server:  # it accepts, and never answers
        for arguments in (("status",), ("device", "list"), TAKE, ("events", "--follow"), ("job", "watch", "x"), ("api", "GET", "/")):
            begin = time.monotonic()
            done = ctl(server.path, *arguments, "--timeout", "0.3")
            expect(done.status == 5 and time.monotonic() - begin < 10, "%s hangs: %s", arguments, done)
            expect(not done.output and b"no reply" in done.errors, "%s: %s", arguments, done)
        done = ctl(server.path, "__complete", "--", "device", "show", "")
        expect(done.status == 0 and not done.output and not done.errors, "completion: %s", done)
    with FakeServer(lambda request: None) as server:
        done = ctl(server.path, "status", "--timeout", "3")
        expect(done.status == 5 and len(server.requests) > 1, "hung up: %s", done)
        path = os.path.join(server.directory, "refused")
        with socket.socket(socket.AF_UNIX) as closed:
            closed.bind(path)
        begin = time.monotonic()
        done = ctl(path, "status")
        expect(done.status == 5 and 3 < time.monotonic() - begin < 20, "refused: %s", done)


class Losing:
    """Between command and daemon: passes requests on, and loses the first reply."""

    def __init__(self, daemon):
        self.daemon, self.lost = daemon, False

    def __call__(self, request):
        method, path, headers, body = request
        link = self.daemon.connection()
        kept = {name: value for name, value in headers.items() if name in ("content-type", "idempotency-key")}
        link.request(method, path, body or None, kept)
        answer = link.getresponse()
        text = answer.read()
        link.close()
        if not self.lost:
            self.lost = True
            return None
        return reply(answer.status, text, answer.getheader("Content-Type", ""))


def replies_are_lost():
    with Daemon() as daemon:
        daemon.start()
        for arguments in (("device", "create", "vda", "--size", "1M"), ("device", "create", "vdb", "--size", "1M"), TAKE,
                          ("device", "update", "vda", "--label", "a=b"), ("group", "hold", "g", "me"),
                          ("group", "hold", "g", "me", "--release"), ("group", "delete", "g"), ("device", "detach", "vdb"),
                          ("token", "create", "t", "--scope", "read"), ("token", "revoke", "t")):
            with FakeServer(Losing(daemon)) as server:
                done = ctl(server.path, *arguments)
                # The secret of a token is lost with the reply.
                wanted = 1 if arguments[:2] == ("token", "create") else 0
                expect(done.status == wanted, "%s: %s", arguments, done)
                expect(len(server.requests) >= 2, "%s: nothing was lost", arguments)
        expect([device["name"] for device in daemon.list("/devices")] == ["vda"], "the devices are others")
        expect(daemon.list("/tokens") == [], "the token is there")


def killed(daemon, step):
    done = []
    daemon.close_gate(step)
    caller = threading.Thread(target=lambda: done.append(
        ctl(daemon.runtime + "/api.sock", "group", "take", "at-" + step, "vda", "vdb", "--timeout", str(DEADLINE_S), "-o", "json")))
    caller.start()
    daemon.await_gate(step)
    daemon.kill()
    daemon.forget_gate(step)
    daemon.start()
    caller.join()
    expect(done[0].status == 0, "killed at %s: %s", step, done[0])
    groups = [group for group in daemon.list("/snapshot-groups") if group["name"] == "at-" + step and group["state"] != "aborted"]
    expect(len(groups) == 1 and groups[0]["state"] == "committed", "killed at %s: %s", step, groups)
    expect(json.loads(done[0].output)["id"] == groups[0]["id"], "killed at %s: another group is shown", step)


def test():
    retries()
    nobody()
    replies_are_lost()
    with GatedDaemon() as daemon:
        daemon.start()
        for name in ("vda", "vdb"):
            daemon.create_device(name, "qcow2", 1 << 20)
        for step in ("begin", "insert", "prepare", "committing", "finish", "committed"):
            killed(daemon, step)


main(test)
