#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A device is detached while a job merges its top into the image that was attached, which holds a
# part of the top then. The job is done without it, but the half merged image is not attached, nor
# an overlay of it that was made by hand, and the top is not deleted: both calls say what to do.
# Once the top is attached again a job goes on with the merge, also if the daemon is killed before
# that job is recorded, and ends with the attached image alone, which holds the disk.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import expect, main, qcow2_check, run, wait_until

MIB = 1 << 20
RATE = 256 << 10  # a second: the top takes 16


def content(path):
    with open(path, "rb") as file:
        return file.read()


def begin(daemon):
    """The job that deletes the group, once it has copied some of the live top."""
    daemon.snapshot("one", ["vda"])
    daemon.close_gate("collapse-vda")
    job = daemon.request("DELETE", "/snapshot-groups/one").body["id"]
    daemon.await_gate("collapse-vda")
    daemon.write("vda", b"2" * 4 * MIB, 0)
    daemon.open_gate("collapse-vda")
    wait_until(lambda: b"2" * 4096 in content(daemon.image("vda.qcow2")), "some of the top to be copied")
    return job


def state(daemon, job):
    return daemon.get("/jobs/" + job)["state"]


def detach(daemon):
    answer = daemon.request_when_free("DELETE", "/devices/vda")
    expect(answer.status == 204, "%s", answer)


def refused(daemon, method, path, body, code, *reasons):
    answer = daemon.request(method, path, body)
    expect(answer.status == 409 and answer.body["code"] == code, "%s", answer)
    for reason in reasons:
        expect(reason in answer.body["detail"], "no %s: %s", reason, answer)
    return answer


def not_deleted(daemon, code, *reasons):
    return refused(daemon, "DELETE", "/devices/vda?files=delete", None, code, *reasons)


def not_attached(daemon, image, top):
    body = {"name": "other", "image": image, "format": "qcow2", "read_only": True}
    refused(daemon, "POST", "/devices", body, "GroupDeleting", "attach '%s'" % top)
    body["read_only"] = False
    is_base = image == daemon.image("vda.qcow2")
    refused(daemon, "POST", "/devices", body, "ImageInUse" if is_base else "GroupDeleting", "attach '%s'" % top)


def test_half_merged(daemon, job):
    """Its top is detached."""
    top, base = daemon.chain("vda")
    not_deleted(daemon, "DeviceInUse", job)
    detach(daemon)
    wait_until(lambda: state(daemon, job) == "done", "the job to be done without the top")
    expect(daemon.request("GET", "/snapshot-groups/one").status == 404, "the group is not deleted")
    other = daemon.image("other.qcow2")
    run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", base, "-F", "qcow2", other, str(8 * MIB))
    not_attached(daemon, base, top)
    not_attached(daemon, other, top)
    os.unlink(other)
    return top, base


def going_on(daemon):
    """The job that goes on with the merge."""
    job = wait_until(lambda: daemon.list("/jobs?state=running"), "a job to go on")[0]["id"]
    answer = not_deleted(daemon, "DeviceInUse", job)
    expect(answer.body["holder"] == {"kind": "job", "id": job}, "%s", answer)
    return job


def attach_and_kill(daemon, top):
    """The daemon is killed before the job is there."""
    daemon.close_gate("replan")
    call = Call(daemon, "POST", "/devices", {"name": "vda", "image": top, "format": "qcow2"})
    daemon.await_gate("replan")
    daemon.kill()
    call.join()
    daemon.forget_gate("replan")
    daemon.start()


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 8 * MIB)
        with daemon.stopped_database() as database:
            database.execute("CREATE TRIGGER slow AFTER INSERT ON jobs BEGIN UPDATE jobs SET "
                             "rate_bytes_per_second = %d WHERE id = NEW.id; END" % RATE)
        job = begin(daemon)
        known = daemon.content_hash("vda")
        top, base = test_half_merged(daemon, job)
        daemon.attach_device("vda", top, "qcow2")
        daemon.change_job(going_on(daemon), {"state": "cancelled"})
        not_deleted(daemon, "GroupDeleting", "attach '%s'" % top)
        detach(daemon)
        not_attached(daemon, base, top)
        attach_and_kill(daemon, top)
        job = going_on(daemon)
        daemon.change_job(job, {"rate_bytes_per_second": 0})
        wait_until(lambda: state(daemon, job) == "done", "the job to be done")
        expect(daemon.chain("vda") == [base], "%s", daemon.chain("vda"))
        expect(daemon.content_hash("vda") == known, "the disk has changed")
        detach(daemon)
        expect(daemon.image_names() == ["vda.qcow2"], "%s", daemon.image_names())
        qcow2_check(base)


main(test)
