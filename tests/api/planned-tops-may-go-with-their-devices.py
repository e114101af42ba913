#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A job is to merge the tops of two devices, one after the other. While it is at the first one the
# other device is detached with its file. The job is done without that top; the image beneath stays
# as it was.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import GatedDaemon
from snapgroupd import checksum, expect, main, wait_until

MIB = 1 << 20
RATE = 256 << 10  # a second: the top of `vda` takes 16
DEVICES = ["vda", "vdb"]


def stages(daemon, job):
    return [merge["stage"] for merge in daemon.get("/jobs/" + job)["merges"]]


def begin(daemon):
    """The job that deletes the group, once it is at the top of `vda`."""
    daemon.snapshot("g", DEVICES)
    daemon.close_gate("collapse-vda")
    job = daemon.request("DELETE", "/snapshot-groups/g").body["id"]
    daemon.await_gate("collapse-vda")
    daemon.write("vda", b"x" * 4 * MIB, 0)
    daemon.open_gate("collapse-vda")
    wait_until(lambda: stages(daemon, job) == ["done", "done", "copying", "planned"], "the last merges")
    return job


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        for device in DEVICES:
            daemon.create_device(device, "qcow2", 8 * MIB)
        with daemon.stopped_database() as database:
            database.execute("CREATE TRIGGER slow AFTER INSERT ON jobs BEGIN UPDATE jobs SET "
                             "rate_bytes_per_second = %d WHERE id = NEW.id; END" % RATE)
        job = begin(daemon)
        before = checksum(daemon.image("vdb.qcow2"))
        answer = daemon.request("DELETE", "/devices/vdb?files=delete")
        expect(answer.status == 204, "%s", answer)
        daemon.change_job(job, {"rate_bytes_per_second": 0})
        ended = wait_until(lambda: daemon.get("/jobs/" + job)["finished_at"] and daemon.get("/jobs/" + job), "the job to end")
        expect(ended["state"] == "done", "%s", ended)
        expect(daemon.image_names() == ["vda.qcow2", "vdb.qcow2"], "%s", daemon.image_names())
        expect(checksum(daemon.image("vdb.qcow2")) == before, "the other image has changed")


main(test)
