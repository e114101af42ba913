#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A group is deleted while a rollback, or a clone, is about to put an image on what its job merges:
# its row is there, its file is not yet. The job waits for that, as it plans or, if it had planned
# before, as it puts the merged image in its place; it is done, and the content stays.
import itertools
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import POLL_S, expect, main, wait_until

SIZE_BYTES, BLOCK = 65536, 4096
LOOKS = 30  # a job that does not wait has failed by then
MAKERS = [  # the step before the file is there, the request
    ("prepare", "POST", "/snapshot-groups/{0}-b/rollbacks", lambda name: {"name": name + "-r"}),
    ("create", "POST", "/devices", lambda name: {"name": name + "-c", "from": {"group": name + "-b", "device": name}}),
]


def write(daemon, name, value):
    daemon.write(name, bytes([value]) * BLOCK, value * BLOCK)


def read(daemon, export):
    handle = daemon.nbd(export)
    data = bytes(handle.pread(SIZE_BYTES, 0))
    handle.shutdown()
    return data


def job_ends(daemon, job, looks):
    for _ in range(looks):
        state = daemon.get("/jobs/" + job)["state"]
        if state not in ("queued", "running"):
            return state
        time.sleep(POLL_S)
    return None


def delete_begin(daemon, name):
    deleted = daemon.request("DELETE", "/snapshot-groups/%s-a" % name)
    expect(deleted.status == 202, "DELETE: %s", deleted)
    return deleted.body["id"]


def expect_made(daemon, answer, method, path, body):
    """The job may look at the image just when it is opened; then the call is to be repeated."""
    def ask():
        nonlocal answer
        is_busy = answer.status == 409 and answer.body["code"] == "DeviceInUse"
        answer = daemon.request(method, path, body) if is_busy else answer
        return not is_busy
    wait_until(ask, "the job to let others use the image")
    expect(answer.status == 201, "%s: %s", path, answer)


def delete_beside(daemon, name, is_planned, gate, method, path, body):
    daemon.create_device(name, "qcow2", SIZE_BYTES)
    for value, letter in enumerate("ab"):
        write(daemon, name, value + 1)
        daemon.snapshot("%s-%s" % (name, letter), [name])
    frozen = read(daemon, "%s@%s-b" % (name, name))
    daemon.close_gate(gate)
    if is_planned:
        daemon.close_gate("pushed")
        job = delete_begin(daemon, name)
        daemon.await_gate("pushed")
    making = Call(daemon, method, path.format(name), body(name))
    daemon.await_gate(gate)
    if is_planned:
        daemon.open_gate("pushed")
    else:
        job = delete_begin(daemon, name)
    job_ends(daemon, job, LOOKS)
    daemon.open_gate(gate)
    expect_made(daemon, making.answer(), method, path.format(name), body(name))
    wait_until(lambda: job_ends(daemon, job, 1), "the job to end")
    shown = daemon.get("/jobs/" + job)
    expect(shown["state"] == "done", "%s", shown)
    for export in (name if gate == "prepare" else name + "-c", "%s@%s-b" % (name, name)):
        expect(read(daemon, export) == frozen, "%s reads wrong", export)


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        for number, (is_planned, maker) in enumerate(itertools.product((False, True), MAKERS)):
            delete_beside(daemon, "d%d" % number, is_planned, *maker)


main(test)
