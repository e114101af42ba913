#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# A task is carried out once, whatever happens between it and its answer: answers that are lost, a
# daemon that is killed before and after the cut, 20 hosts at once, somebody else who is faster.
# What is retryable is sent again, after Retry-After, with the same Idempotency-Key; another task
# has another key. A daemon that cannot be reached is reported, and so are answers that are not a
# daemon's.
import os
import socket
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from collection import Collection, Host, expect_result
from gates import GatedDaemon
from scripted import Losing, Overtaken, Scripted, Server, problem
from snapgroupd import expect, main

MIB = 1 << 20
BOTH = [{"device": "vda"}, {"device": "vdb"}]


def tasks(suffix, **rollback):
    """Each of which makes at least one change."""
    disk, group, clone, token = (name + suffix for name in ("disk", "group", "clone", "token"))
    return (("device", dict(name=disk, image=disk + ".raw", format="raw", size_bytes=MIB)), ("device", dict(name=disk, labels={"a": "b"})),
            ("snapshot_group", dict(name=group, devices=BOTH, holds=["me"], labels={"c": "d"})),
            ("snapshot_group", dict(name=group, holds=["you"])), ("snapshot_group", dict(name=group, release=["you"])),
            ("snapshot_group", dict(name=group, labels={"c": "e"})), ("clone", dict(name=clone, group=group, device="vda")),
            ("snapshot_group_rollback", dict(group=group, **rollback)), ("token", dict(name=token, scope="read")),
            ("clone", dict(name=clone, state="absent", files="delete")), ("token", dict(name=token, state="absent")),
            ("snapshot_group", dict(name=group, state="absent", release=["me"])), ("device", dict(name=disk, state="absent")))


def lost_answers(host):
    path = os.path.join(host.daemon.directory, "losing.sock")
    server = Server(path, Losing)
    server.host = host
    losses = 0
    for module, options in tasks("-lost"):
        server.met = []
        result = expect_result(host(module, socket=path, retry_for=30, **options), failed=False, changed=True)
        expect(server.met, "%s %s has lost no answer", module, options)
        losses += len(server.met)
        expect(module != "token" or options.get("state") or result["secret"], "%s", result)
        expect_result(host(module, **options), failed=False, changed=False)
    server.close()
    groups = host.daemon.list("/snapshot-groups")
    expect(losses >= 15 and len(groups) == 2 and [group["kind"] for group in groups] == ["rollback", "snapshot"], "%d, %s", losses, groups)


def overtaken(host):
    """What somebody else has done meanwhile is no change by this host; but that a hold was released
    already, its DELETE does not say."""
    path = os.path.join(host.daemon.directory, "overtaken.sock")
    server = Server(path, Overtaken)
    server.host = host
    for module, options in tasks("-late", name="back-late"):
        server.met = []
        expect_result(host(module, socket=path, **options), failed=False, changed="release" in options)
        expect(server.met, "%s %s was not overtaken", module, options)
        expect_result(host(module, **options), failed=False, changed=False)
    server.close()


def killed_daemons(host):
    daemon = host.daemon
    for step in ("prepare", "cut", "finish"):
        daemon.close_gate(step)
        waiting = host.start("snapshot_group", name="kill-" + step, devices=BOTH, retry_for=120)
        daemon.await_gate(step)
        daemon.kill()
        daemon.forget_gate(step)
        daemon.start()
        result = expect_result(host.finish(waiting), failed=False, changed=True)
        alive = [group for group in daemon.list("/snapshot-groups")
                 if group["name"] == "kill-" + step and group["state"] not in ("aborted", "aborting")]
        expect(len(alive) == 1 and alive[0]["id"] == result["snapshot_group"]["id"], "%s: %s", step, alive)
        expect_result(host("snapshot_group", name="kill-" + step, devices=BOTH), failed=False, changed=False)


def twenty_hosts(host):
    """All want the same things: one makes each of them, and all others find it as described."""
    for module, options in (("device", dict(name="all", image="all.raw", format="raw", size_bytes=MIB, labels={"a": "b"})),
                            ("snapshot_group", dict(name="all", devices=BOTH)),
                            ("snapshot_group_rollback", dict(group="all", name="back")),
                            ("token", dict(name="all", scope="read"))):
        results = [host.finish(running) for running in [host.start(module, retry_for=60, **options) for _ in range(20)]]
        changed = sum(expect_result(result, failed=False)["changed"] for result in results)
        expect(changed == 1, "%s: %d have changed something", module, changed)


def retries(host, server, path):
    """Two tasks of three attempts each; and what is not retryable, or no problem, is not repeated.
    """
    codes = []

    def script(method, _):
        if method == "GET":
            return problem(404, "TokenNotFound")
        codes.append(None)
        if len(codes) % 3:
            return 503, {"Retry-After": "1"}, problem(503, "StoreBusy", True)[2]
        return 201, {}, {"id": "1", "name": "x", "scope": "read", "created_at": "", "expires_at": None, "secret": "sgt_x"}
    server.script, server.seen = script, []
    for _ in range(2):
        expect_result(host("token", socket=path, retry_for=10, name="x", scope="read"), failed=False, changed=True)
    keys = [key for method, _, key in server.seen if method == "POST"]
    expect(len(keys) == 6 and len(set(keys)) == 2 and len(set(keys[:3])) == 1, "%s", keys)
    for seed, number in (("one", 1), ("two", 2)):
        server.seen = []
        for _ in range(number):
            host("token", socket=path, retry_for=10, name="x", scope="read", idempotency_key=seed)
        expect(len({key for method, _, key in server.seen if method == "POST"}) == 1, "%s", server.seen)
    for answer in (problem(409, "Other"), (200, {}, b"<html>"), (500, {}, b"<html>"), (301, {"Location": "/x"}, b""), (400, {}, [])):
        server.script, server.seen = (lambda *_: answer), []
        expect_result(host("device_info", socket=path, retry_for=10), failed=True, changed=False)
        expect(len(server.seen) == 1, "%s was repeated: %s", answer, server.seen)


def unreachable(host):
    here = host.daemon.directory
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = "http://127.0.0.1:%d" % closed.getsockname()[1]
    for options, text in ((dict(socket=here + "/none.sock"), "No such file"), (dict(socket=here + "/daemon.log"), "refused"),
                          (dict(socket=None, url=nobody), "refused"), (dict(socket=None, url="htp://x", retry_for=60), "htp"),
                          (dict(socket=None, url="http://127.0.0.1:x", retry_for=60), "invalid literal"),
                          (dict(token="a\nb", retry_for=60), "header"), (dict(socket=None, url=nobody, ca_path="/none"), "No such file"),
                          (dict(socket="/x", url=nobody), "mutually exclusive"), (dict(client_key="/x"), "client_cert")):
        result = expect_result(host("device_info", **options), failed=True, changed=False)
        expect(text in result["msg"], "%s: %s", options, result["msg"])


def test():
    with Collection() as collection, GatedDaemon() as daemon:
        daemon.start_with({"vda": "qcow2", "vdb": "raw"}, MIB)
        host = Host(collection, daemon)
        lost_answers(host)
        overtaken(host)
        killed_daemons(host)
        twenty_hosts(host)
        path = os.path.join(daemon.directory, "scripted.sock")
        server = Server(path, Scripted)
        retries(host, server, path)
        unreachable(host)
        server.close()


main(test)
