#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A group was deleted while another device kept its image: a clone, or one that only reads it. Once
# that device is gone, its tree is planned again, so that the disk ends in one file: also if a start
# finishes the detach of the clone, or removes one whose creation did not finish.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, qcow2_check, wait_until

SIZE_BYTES = 1 << 20


def await_one_file(daemon, known):
    wait_until(lambda: daemon.image_names() == ["vda.qcow2"], "one file")
    wait_until(lambda: len(daemon.get("/devices/vda")["chain"]) == 1, "one image")
    expect(daemon.content_hash("vda") == known, "the device has changed")
    wait_until(lambda: all(job["state"] == "done" for job in daemon.list("/jobs")), "all jobs to be done")


def frozen(daemon, group):
    """What the device holds. Its image is frozen, without a group, once `keep` has kept it."""
    daemon.snapshot(group, ["vda"])
    daemon.write("vda", group.encode() * 512, 4096)
    return daemon.content_hash("vda")


def test_start(daemon, state):
    known = frozen(daemon, state)
    answer = daemon.request("POST", "/devices", {"name": "vdb", "from": {"group": state, "device": "vda"}})
    expect(answer.status == 201, "%s", answer)
    job = daemon.delete_group(state)
    expect(job["kept"], "%s", job)
    with daemon.stopped_database() as database:
        database.execute("UPDATE devices SET state = ?, removed_by = iif(? = 'detaching', id, NULL) "
                         "WHERE name = 'vdb'", (state, state))
    expect(daemon.request("GET", "/devices/vdb").status == 404, "vdb is there")
    await_one_file(daemon, known)


def test_reader(daemon):
    known = frozen(daemon, "read")
    answer = daemon.request("POST", "/devices", {"name": "vdb", "image": "vda.qcow2", "format": "qcow2",
                                                 "read_only": True})
    expect(answer.status == 201, "%s", answer)
    job = daemon.delete_group("read")
    expect(job["kept"], "%s", job)
    answer = daemon.request("DELETE", "/devices/vdb")
    expect(answer.status == 204, "%s", answer)
    await_one_file(daemon, known)


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        test_start(daemon, "detaching")
        test_start(daemon, "creating")
        test_reader(daemon)
        daemon.stop()
        qcow2_check(daemon.image("vda.qcow2"))


main(test)
