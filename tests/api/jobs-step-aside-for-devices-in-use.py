#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# As many jobs as may be at work wait for groups that take longer than they try again at once: one
# has merged an image, on which a rollback is just putting an overlay, and one is to put a new top
# on a device that another group has. They do not fail, a job of another disk is done meanwhile, and
# they are done once the groups are.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import expect, group_body, main, wait_until

SIZE_BYTES = 65536


def has_stepped_aside(daemon, job):
    with open(daemon.log_path) as log:
        return "job %s steps aside" % job in log.read()


def begin(daemon, group):
    answer = daemon.request("DELETE", "/snapshot-groups/" + group)
    expect(answer.status == 202, "%s", answer)
    return answer.body["id"]


def make_disks(daemon):
    for name in ("vda", "vdb", "vdc"):
        daemon.create_device(name, "qcow2", SIZE_BYTES)
        for letter in "ab":
            daemon.write(name, letter.encode() * 512, 0)
            daemon.snapshot(name + letter, [name])


def hold(daemon, name, path, body):
    call = Call(daemon, "POST", path, {**body, "name": name})
    daemon.await_state(name, "preparing")
    return call


def await_done(daemon, job):
    wait_until(lambda: daemon.get("/jobs/" + job)["state"] not in ("queued", "running"), "the job to end")
    shown = daemon.get("/jobs/" + job)
    expect(shown["state"] == "done", "%s", shown)


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        make_disks(daemon)
        daemon.close_gate("pushed")
        jobs = [begin(daemon, "vdaa")]
        daemon.await_gate("pushed")
        daemon.close_gate("prepare")
        groups = [hold(daemon, "back", "/snapshot-groups/vdab/rollbacks", {"disconnect": True}),
                  hold(daemon, "third", "/snapshot-groups", group_body("third", ["vdb"]))]
        jobs.append(begin(daemon, "vdbb"))
        daemon.open_gate("pushed")
        for job in jobs:
            wait_until(lambda: has_stepped_aside(daemon, job), "a job to step aside")
        await_done(daemon, begin(daemon, "vdca"))
        daemon.open_gate("prepare")
        for call in groups:
            expect(call.answer().status == 201, "%s", call.answer())
        for job in jobs:
            await_done(daemon, job)


main(test)
