#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A live top is merged at one byte a second. A group and a detach of its device do not wait for that
# rate: they have the merge end, and the job is done with the top that is frozen then, or without
# one.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, wait_until

MIB = 1 << 20
FIRST_RATE = 64 << 10  # a second: the frozen image takes three, the top a minute


def is_collapsing(daemon, job):
    merges = daemon.get("/jobs/" + job)["merges"]
    return len(merges) > 1 and merges[1]["stage"] == "copying"


def begin(daemon, group):
    """The job that deletes the group, and has the last merge before it for ever."""
    daemon.snapshot(group, ["vda"])
    daemon.write("vda", b"1" * 3 * FIRST_RATE, 0)
    before = daemon.chain("vda")
    job = daemon.request("DELETE", "/snapshot-groups/" + group).body["id"]
    wait_until(lambda: daemon.chain("vda")[0] != before[0], "the cut")
    daemon.write("vda", os.urandom(4 * MIB), 0)
    wait_until(lambda: is_collapsing(daemon, job), "the last merge to begin")
    daemon.change_job(job, {"rate_bytes_per_second": 1})
    return job


def end(daemon, job):
    daemon.change_job(job, {"rate_bytes_per_second": 0})
    wait_until(lambda: daemon.get("/jobs/" + job)["state"] == "done", "the job to be done")


def test_group(daemon):
    job = begin(daemon, "one")
    known = daemon.content_hash("vda")
    daemon.snapshot("two", ["vda"])
    end(daemon, job)
    expect(daemon.content_hash("vda@two") == known, "the group has changed")
    daemon.delete_group("two")


def test_detach(daemon):
    job = begin(daemon, "three")
    known = daemon.content_hash("vda")
    top = daemon.chain("vda")[0]
    answer = daemon.request_when_free("DELETE", "/devices/vda")  # the client may not have gone
    expect(answer.status == 204, "%s", answer)
    wait_until(lambda: daemon.get("/jobs/" + job)["state"] == "done", "the job to be done")
    daemon.attach_device("vda", top, "qcow2")
    expect(daemon.content_hash("vda") == known, "the device has changed")


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 8 * MIB)
        with daemon.stopped_database() as database:
            database.execute("CREATE TRIGGER slow AFTER INSERT ON jobs BEGIN UPDATE jobs SET "
                             "rate_bytes_per_second = %d WHERE id = NEW.id; END" % FIRST_RATE)
        test_group(daemon)
        test_detach(daemon)


main(test)
