#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A group is deleted while its device is being detached, which takes its time: the device's row is
# there, and no group can have the device any more. The job, which would freeze it first, waits for
# that, and is done; the image reads as the device did.
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import POLL_S, expect, main, run

BLOCK = 4096
LOOKS = 30  # a job that does not wait has failed by then


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 16 * BLOCK)
        daemon.write("vda", b"\1" * BLOCK, 0)
        daemon.snapshot("a", ["vda"])
        daemon.write("vda", b"\2" * BLOCK, BLOCK)
        top = daemon.get("/devices/vda")["top"]
        daemon.close_gate("flush")
        detached = Call(daemon, "DELETE", "/devices/vda")
        daemon.await_gate("flush")
        deleted = daemon.request("DELETE", "/snapshot-groups/a")
        for _ in range(LOOKS):
            job = daemon.get("/jobs/" + deleted.body["id"])
            expect(job["state"] in ("queued", "running"), "the job does not wait: %s", job)
            time.sleep(POLL_S)
        daemon.open_gate("flush")
        expect(detached.answer().status == 204, "%s", detached.answer())
        job = daemon.await_job(deleted)
        expect(job["state"] == "done", "%s", job)
        daemon.stop()
        run("qemu-io", "-r", "-f", "qcow2", "-c", "read -P 1 0 4k", "-c", "read -P 2 4k 4k", daemon.image(top))


main(test)
