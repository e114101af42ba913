#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Idempotency-Key: the same request is carried out once and answered alike each time, also after a
# restart, and if the daemon died before it had kept the answer. Another request with the key is
# refused, one that still runs is not repeated, and refusals that may pass are not kept. A key ends
# after 24 h.
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import expect, group_body, main, run


def post(daemon, path, body, key):
    return daemon.request("POST", path, body, Idempotency_Key=key)


def check_replay(first, second):
    expect(second.status == first.status and second.body == first.body, "%s, then %s", first, second)
    for name in ("Content-Type", "Location"):
        expect(second.headers[name] == first.headers[name], "%s: %s", name, second.headers)
    expect(not first.headers["Idempotency-Replayed"] and second.headers["Idempotency-Replayed"] == "true",
           "%s, then %s", first.headers, second.headers)
    expect(second.headers["X-Request-Id"] != first.headers["X-Request-Id"], "the request's id is replayed")


def groups(daemon, state="committed"):
    return [group["name"] for group in daemon.get("/snapshot-groups?state=" + state)["items"]]


def change(daemon, sql):
    """Changes the database of the stopped daemon."""
    with daemon.stopped_database() as database:
        database.execute(sql)


def check_forms(daemon):
    for key in ('', '""', '"a', 'a b', '"a";b=1', '"\\a"', "x" * 129, '"' + "x" * 129 + '"'):
        answer = post(daemon, "/snapshot-groups", group_body("form", ["vda"]), key)
        expect(answer.status == 400 and answer.body["code"] == "InvalidHeader", "%s: %s", key, answer)
    expect(groups(daemon) == [], "a malformed key is not taken")


def check_same(daemon):
    body = group_body("g", ["vda", "vdb"])
    first = post(daemon, "/snapshot-groups", body, "key-1")
    expect(first.status == 201, "%s", first)
    for key in ("key-1", '"key-1"'):
        check_replay(first, post(daemon, "/snapshot-groups", body, key))
    for path, other in (("/snapshot-groups", group_body("h", ["vda"])), ("/devices", {"name": "x", "image": "x", "format": "raw"})):
        answer = post(daemon, path, other, "key-1")
        expect(answer.status == 422 and answer.body["code"] == "IdempotencyKeyReused", "%s", answer)
    daemon.restart()
    check_replay(first, post(daemon, "/snapshot-groups", body, "key-1"))
    change(daemon, "UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL")
    for _ in range(2):  # built from the row, then kept
        check_replay(first, post(daemon, "/snapshot-groups", body, "key-1"))
    expect(groups(daemon) == ["g"], "groups: %s", groups(daemon))
    change(daemon, "UPDATE idempotency_keys SET created_at_us = created_at_us - 24 * 3600 * 1000000")
    answer = post(daemon, "/snapshot-groups", body, "key-1")
    expect(answer.status == 409 and answer.body["code"] == "GroupExists", "after 24 h: %s", answer)


def check_deleted(daemon):
    """What was made is answered with also while its deletion runs, which the answer shows, and
    afterwards; it is not made again. A trigger in the database has the job wait."""
    change(daemon, "CREATE TRIGGER pauses AFTER INSERT ON jobs BEGIN "
                   "UPDATE jobs SET state = 'paused' WHERE id = NEW.id; END")
    body = group_body("gone", ["vda"])
    first = post(daemon, "/snapshot-groups", body, "key-gone")
    job = daemon.request("DELETE", "/snapshot-groups/gone")
    expect((first.status, job.status) == (201, 202), "%s, %s", first, job)
    check_replay(first, post(daemon, "/snapshot-groups", body, "key-gone"))
    for state in ("deleting", "deleted"):
        change(daemon, "UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL")
        for _ in range(2):
            again = post(daemon, "/snapshot-groups", body, "key-gone")
            expect((again.status, again.headers["Location"]) == (201, first.headers["Location"]), "%s: %s", state, again)
            expect(again.body["state"] == state and again.headers["Idempotency-Replayed"] == "true", "%s: %s", state, again)
        if state == "deleting":
            daemon.request("PATCH", "/jobs/" + job.body["id"], {"state": "running"})
            expect(daemon.await_job(job)["state"] == "done", "%s", daemon.get("/jobs"))
    change(daemon, "DROP TRIGGER pauses")


def check_device(daemon):
    for key, body in (("key-c", {"name": "vdc", "image": "vdc.raw", "format": "raw", "size_bytes": 1 << 20}),
                      ("key-d", {"name": "vdd", "image": "vdd.raw", "format": "raw"})):
        if key == "key-d":
            run("truncate", "-s", "1M", daemon.image("vdd.raw"))
        first = post(daemon, "/devices", body, key)
        expect(first.status == 201, "%s", first)
        check_replay(first, post(daemon, "/devices", body, key))
        change(daemon, "UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL")
        check_replay(first, post(daemon, "/devices", body, key))


def check_refusals(daemon):
    """One that stays is kept, also if what it lacked is there by now; one that may pass is not."""
    body = group_body("r", ["vde"])
    first = post(daemon, "/snapshot-groups", body, "key-r")
    expect(first.status == 404, "%s", first)
    daemon.create_device("vde", "raw", 1 << 20)
    check_replay(first, post(daemon, "/snapshot-groups", body, "key-r"))
    change(daemon, "UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL")
    again = post(daemon, "/snapshot-groups", body, "key-r")
    expect(again.status == 404 and again.body["code"] == "DeviceNotFound" and
           again.body["instance"] == first.body["instance"], "%s, then %s", first, again)

    run("qemu-img", "create", "-q", "-f", "qcow2", daemon.image("busy.qcow2"), "1M")
    body = {"name": "busy", "image": "busy.qcow2", "format": "qcow2"}
    with subprocess.Popen(["qemu-io", "-f", "qcow2", daemon.image("busy.qcow2")], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, bufsize=0) as holder:
        holder.stdin.write(b"length\n")
        while b"1 MiB" not in holder.stdout.readline():
            pass
        answer = post(daemon, "/devices", body, "key-b")
        expect(answer.status >= 400 and answer.body["retryable"], "%s", answer)
        holder.stdin.close()
    answer = post(daemon, "/devices", body, "key-b")
    expect(answer.status == 201, "once it may succeed: %s", answer)


def check_running(daemon):
    """The one that runs is waited for; after a kill before its point of no return it runs anew."""
    body = group_body("slow", ["vda"])
    daemon.close_gate("prepare")
    call = Call(daemon, "POST", "/snapshot-groups", body, Idempotency_Key="key-s")
    daemon.await_gate("prepare")
    answer = post(daemon, "/snapshot-groups", body, "key-s")
    expect(answer.status == 409 and answer.body["code"] == "IdempotencyInProgress" and answer.body["retryable"] and
           answer.headers["Retry-After"], "%s", answer)
    answer = post(daemon, "/snapshot-groups", group_body("other", ["vda"]), "key-s")
    expect(answer.status == 422, "%s", answer)
    daemon.open_gate("prepare")
    check_replay(call.answer(), post(daemon, "/snapshot-groups", body, "key-s"))

    body = group_body("killed", ["vdb"])
    daemon.close_gate("prepare")
    Call(daemon, "POST", "/snapshot-groups", body, Idempotency_Key="key-k")
    daemon.await_gate("prepare")
    daemon.kill()
    daemon.open_gate("prepare")
    daemon.start()
    first = post(daemon, "/snapshot-groups", body, "key-k")
    expect(first.status == 201, "%s", first)
    check_replay(first, post(daemon, "/snapshot-groups", body, "key-k"))
    expect("killed" in groups(daemon) and "killed" in groups(daemon, "aborted"), "the killed attempt is kept")


def test():
    with GatedDaemon() as daemon:
        daemon.start_with({"vda": "raw", "vdb": "qcow2"}, 1 << 20)
        check_forms(daemon)
        check_same(daemon)
        check_deleted(daemon)
        check_device(daemon)
        check_refusals(daemon)
        check_running(daemon)


main(test)
