#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Jobs whose progress cannot be recorded, since the state disk is full, wait until the database
# takes a change: a merge of frozen images, one of a live top, and a copy, are not carried out again
# and again meanwhile. Once there is room they end without a restart, and without a call: so the
# database itself is looked at.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from fullstate import fill_state, free_state, small_state
from gates import GatedDaemon
from snapgroupd import expect, main, wait_until

MIB = 1 << 20


def write(daemon, byte):
    handle = daemon.nbd("vda")
    handle.pwrite(bytes([byte]) * (2 * MIB), 0)
    handle.flush()
    handle.shutdown()


def waits(daemon):
    with open(daemon.log_path) as log:
        return log.read().count("waits for the store")


def check(daemon, gate, *request):
    daemon.close_gate(gate)
    answer = daemon.request(*request)
    expect(answer.status == 202, "%s", answer)
    daemon.await_gate(gate)
    fill_state(daemon, "other")
    before = waits(daemon)
    daemon.open_gate(gate)
    wait_until(lambda: waits(daemon) > before, "the job to wait")
    copied = daemon.job_bytes()
    wait_until(lambda: waits(daemon) > before + 2, "the job to look twice")
    expect(daemon.job_bytes() == copied and copied >= 2 * MIB, "%d bytes were copied, and %d more", copied, daemon.job_bytes() - copied)
    free_state(daemon)
    wait_until(lambda: daemon.recorded("SELECT state FROM jobs WHERE id = ?", answer.body["id"]) == [("done",)], "the job to end")


def test():
    with GatedDaemon() as daemon:
        small_state(daemon)
        daemon.start_with({"vda": "qcow2", "other": "raw"}, 4 * MIB)
        for byte, group in ((1, "one"), (2, "two"), (3, None)):
            write(daemon, byte)
            if group:
                daemon.snapshot(group, ["vda"])
        content = daemon.content_hash("vda")
        check(daemon, "copied", "POST", "/snapshot-groups/two/copies", {"device": "vda", "image": "copy.raw", "format": "raw"})
        check(daemon, "pushed", "DELETE", "/snapshot-groups/one")
        check(daemon, "collapse-vda", "DELETE", "/snapshot-groups/two")
        expect(len(daemon.get("/devices/vda")["chain"]) == 1 and daemon.content_hash("vda") == content, "vda has changed")
        daemon.stop()


own_mounts()
main(test)
