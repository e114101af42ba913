#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A merge of a live top is cancelled, or paused, or its daemon is killed while it is paused, and the
# device is detached. Its top can be attached again as it is, also under another name or for reading
# only, and holds what was written. When the job goes on, or the group is deleted once more, the
# device ends in one file under its new name. The image beneath, which is half written, stays
# refused.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import GatedDaemon
from snapgroupd import expect, main, qcow2_check, wait_until

MIB = 1 << 20
FIRST_RATE = 64 << 10  # a second: the frozen image takes one, the top a minute


def is_collapsing(daemon, job):
    merges = daemon.get("/jobs/" + job)["merges"]
    return len(merges) > 1 and merges[1]["stage"] == "copying"


def begin(daemon, device, group):
    """The job that deletes the group, once it has begun with the top."""
    daemon.snapshot(group, [device])
    daemon.write(device, b"1" * FIRST_RATE, 0)
    daemon.close_gate("collapse-" + device)
    job = daemon.request("DELETE", "/snapshot-groups/" + group).body["id"]
    daemon.await_gate("collapse-" + device)
    daemon.write(device, os.urandom(4 * MIB), 0)
    daemon.open_gate("collapse-" + device)
    wait_until(lambda: is_collapsing(daemon, job), "the last merge to begin")
    return job


def detach(daemon, device):
    answer = daemon.request_when_free("DELETE", "/devices/" + device)
    expect(answer.status == 204, "%s", answer)


def test_cancelled(daemon, device, group):
    job = begin(daemon, device, group)
    known = daemon.content_hash(device)
    daemon.change_job(job, {"state": "cancelled"})
    top, base = daemon.chain(device)
    detach(daemon, device)
    answer = daemon.request("POST", "/devices", {"name": "base", "image": base, "format": "qcow2", "read_only": True})
    expect(answer.status == 409 and answer.body["code"] == "GroupDeleting", "%s", answer)
    answer = daemon.request("POST", "/devices", {"name": "read", "image": top, "format": "qcow2", "read_only": True})
    expect(answer.status == 201, "%s", answer)
    expect(daemon.content_hash("read") == known, "the device has changed")
    detach(daemon, "read")
    daemon.attach_device(device, top, "qcow2")
    expect(daemon.content_hash(device) == known, "the device has changed")
    daemon.delete_group(group)
    expect(daemon.chain(device) == [base], "%s", daemon.chain(device))
    expect(daemon.content_hash(device) == known, "the device has changed")


def test_killed(daemon, device, group):
    """The first kill leaves the image beneath with a journal."""
    job = begin(daemon, device, group)
    daemon.kill()
    daemon.start()
    daemon.change_job(job, {"state": "paused"})
    known = daemon.content_hash(device)
    top, base = daemon.chain(device)
    detach(daemon, device)
    daemon.kill()
    daemon.start()
    daemon.attach_device("other", top, "qcow2")
    expect(daemon.content_hash("other") == known, "the device has changed")
    daemon.kill()
    daemon.start()
    daemon.change_job(job, {"state": "running", "rate_bytes_per_second": 0})
    wait_until(lambda: daemon.get("/jobs/" + job)["state"] == "done", "the job to be done")
    expect(daemon.chain("other") == [base], "%s", daemon.chain("other"))
    expect(daemon.content_hash("other") == known, "the device has changed")


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 8 * MIB)
        with daemon.stopped_database() as database:
            database.execute("CREATE TRIGGER slow AFTER INSERT ON jobs WHEN NOT EXISTS (SELECT 1 FROM jobs WHERE "
                             "group_id = NEW.group_id AND id <> NEW.id) BEGIN UPDATE jobs SET "
                             "rate_bytes_per_second = %d WHERE id = NEW.id; END" % FIRST_RATE)
        test_cancelled(daemon, "vda", "one")
        test_killed(daemon, "vda", "two")
        daemon.stop()
        expect(daemon.image_names() == ["vda.qcow2"], "%s", daemon.image_names())
        qcow2_check(daemon.image("vda.qcow2"))
        left = os.listdir(os.path.join(daemon.runtime, "journals"))
        expect(not left, "journals are left: %s", left)


main(test)
