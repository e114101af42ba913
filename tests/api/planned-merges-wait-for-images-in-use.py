#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# As a planned merge is about to begin, somebody has one of its images to himself for a moment, as
# who closes the old top of a rollback does. The job does not fail: it begins once that is over.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import GatedDaemon
from snapgroupd import expect, main

SIZE_BYTES = 1 << 20


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        daemon.write("vda", b"1" * 512, 0)
        daemon.snapshot("one", ["vda"])
        daemon.write("vda", b"2" * 512, 0)
        daemon.close_gate("collapse-vda")
        answer = daemon.request("DELETE", "/snapshot-groups/one")
        daemon.await_gate("collapse-vda")  # all is planned
        daemon.close_gate("use")
        daemon.open_gate("collapse-vda")
        daemon.await_gate("use")
        daemon.open_gate("use")
        job = daemon.await_job(answer)
        expect(job["state"] == "done", "%s", job)
        expect(daemon.chain("vda") == [daemon.image("vda.qcow2")], "%s", daemon.chain("vda"))
        expect(bytes(daemon.nbd("vda").pread(512, 0)) == b"2" * 512, "the device has changed")


main(test)
