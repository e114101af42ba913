#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A job's storage hangs, and more than a hundred jobs of the same disk wait behind it: the job of
another disk runs all the same.
"""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import GatedDaemon
from snapgroupd import expect, main

SIZE_BYTES = 1 << 20
WAITING = 101


def delete(daemon, group):
    answer = daemon.request("DELETE", "/snapshot-groups/" + group)
    expect(answer.status == 202, "%s", answer)
    return answer


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        for device in ("vda", "vdb"):
            daemon.create_device(device, "qcow2", SIZE_BYTES)
        for number in range(WAITING + 2):
            daemon.snapshot("a%d" % number, ["vda"])
            if number == 0:
                daemon.write("vda", b"x" * 4096)
        daemon.snapshot("b", ["vdb"])
        daemon.close_gate("pushed")
        first = delete(daemon, "a0")
        daemon.await_gate("pushed")
        for number in range(WAITING):
            delete(daemon, "a%d" % (number + 1))
        expect(daemon.get("/jobs?state=queued&limit=1")["items"], "no job waits")
        job = daemon.await_job(daemon.request("POST", "/snapshot-groups/b/copies", {
            "device": "vdb", "image": "copy.qcow2", "format": "qcow2"}))
        expect(job["state"] == "done", "%s", job)
        daemon.open_gate("pushed")
        expect(daemon.await_job(first)["state"] == "done", "the first job")
        daemon.stop()


main(test)
