#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# DELETE of a group merges its frozen images into what stands on them, as a job: devices and other
# groups give what they gave, files that nobody needs go, and those that are needed stay, with the
# reason. A dry run says before what is done then, or refuses it alike. Contents come from qemu-io
# and nbdcopy.
import hashlib
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import GatedDaemon
from snapgroupd import Daemon, expect, main, qcow2_check, wait_until

MIB = 1 << 20


def write(daemon, device, value, offset, length):
    subprocess.run(["qemu-io", "-f", "raw", "-c", "write -q -P %d %d %d" % (value, offset, length),
                    daemon.nbd_uri(device)], check=True)


def content(daemon, export):
    data = subprocess.run(["nbdcopy", daemon.nbd_uri(export), "-"], check=True, capture_output=True).stdout
    return hashlib.sha256(data).hexdigest()


def ended(daemon, job):
    path = "/jobs/" + job["id"]
    wait_until(lambda: daemon.get(path)["state"] in ("done", "failed", "cancelled"), "the job to end")
    return daemon.get(path)


def delete(daemon, group):
    plan = daemon.request("DELETE", "/snapshot-groups/%s?dry_run=true" % group)
    expect(plan.status == 200, "%s", plan)
    answer = daemon.request("DELETE", "/snapshot-groups/" + group)
    expect(answer.status == 202 and answer.headers["Location"] == "/jobs/" + answer.body["id"], "%s", answer)
    job = ended(daemon, answer.body)
    expect(job["state"] == "done" and not job["error"], "%s", job)
    expect(job["progress"]["done_bytes"] <= 1.05 * plan.body["copy_bytes"], "%s %s", job, plan.body)
    expect(daemon.request("GET", "/snapshot-groups/" + group).status == 404, "the name is free")
    expect(daemon.get("/snapshot-groups/" + job["group"])["state"] == "deleted", "by id")
    return job, plan.body


def chain(daemon, device):
    return [os.path.basename(image["image"]) for image in daemon.get("/devices/" + device)["chain"]]


def in_any_order(daemon):
    for device in ("a", "b"):
        daemon.create_device(device, "qcow2", 8 * MIB)
    known = {}
    for number in range(1, 5):
        for device in ("a", "b"):
            write(daemon, device, number, number * MIB // 2, MIB)
        daemon.snapshot("g%d" % number, ["a", "b"])
        for device in ("a", "b"):
            known["%s@g%d" % (device, number)] = content(daemon, "%s@g%d" % (device, number))
    for device in ("a", "b"):
        write(daemon, device, 9, 0, MIB)
        known[device] = content(daemon, device)
    for number in (2, 1, 4, 3):
        delete(daemon, "g%d" % number)
        for device in ("a", "b"):
            del known["%s@g%d" % (device, number)]
        for export, hash_of in known.items():
            expect(content(daemon, export) == hash_of, "%s after g%d", export, number)
        if number == 4:
            daemon.kill()
            daemon.start()
            for export, hash_of in known.items():
                expect(content(daemon, export) == hash_of, "%s after a restart", export)
    expect([len(chain(daemon, device)) for device in ("a", "b")] == [1, 1], "%s", daemon.get("/devices"))
    expect(len(daemon.image_names()) == 2, "%s", daemon.image_names())
    listed = [(group["kind"], group["state"]) for group in daemon.list("/snapshot-groups")]
    expect(listed == [("snapshot", "deleted")] * 4, "cuts of jobs are nobody's groups: %s", listed)


def clones_keep(daemon):
    daemon.create_device("c", "qcow2", 4 * MIB)
    write(daemon, "c", 1, 0, MIB)
    daemon.snapshot("kept", ["c"])
    answer = daemon.request("POST", "/devices", {"name": "clone", "from": {"group": "kept", "device": "c"}})
    expect(answer.status == 201, "%s", answer)
    write(daemon, "c", 2, 0, MIB)
    before = content(daemon, "c"), content(daemon, "clone")
    job, plan = delete(daemon, "kept")
    expect(len(job["kept"]) == 1 and job["kept"] == plan["kept"] and job["kept"][0]["device"] == "c", "%s %s", job, plan)
    expect(plan["copy_bytes"] == 0 and not job["merges"], "%s %s", job, plan)
    expect((content(daemon, "c"), content(daemon, "clone")) == before, "contents")
    answer = daemon.request("DELETE", "/devices/clone?files=delete")
    expect(answer.status == 204, "%s", answer)
    job = daemon.get("/jobs")["items"][0]
    expect(job["group"] == daemon.get("/jobs")["items"][1]["group"] and ended(daemon, job)["state"] == "done", "%s", job)
    expect(not daemon.get("/jobs/" + job["id"])["kept"], "what the clone had kept is merged: %s", job)
    expect(content(daemon, "c") == before[0] and len(chain(daemon, "c")) == 1, "%s", chain(daemon, "c"))


def branches_make(daemon):
    daemon.create_device("f", "qcow2", 4 * MIB)
    write(daemon, "f", 1, 0, MIB)
    daemon.snapshot("f1", ["f"])
    write(daemon, "f", 2, 0, MIB)
    wait_until(lambda: daemon.get("/devices/f")["clients"] == 0, "the client to be gone")
    for group, safety in (("f1", "branch"), ("branch", "back")):
        daemon.roll_back(group, safety)


def branches_go(daemon):
    """A branch that goes leaves a run of two images, which is merged by the same job."""
    branches_make(daemon)
    before = content(daemon, "f")
    for group in ("f1", "branch", "back"):
        delete(daemon, group)
    expect(content(daemon, "f") == before, "contents")
    expect(len(chain(daemon, "f")) == 1, "%s", chain(daemon, "f"))


def killed_after_a_branch():
    """The job knows the tree of which the group has nothing any more, after a restart too."""
    with GatedDaemon() as daemon:
        daemon.start()
        branches_make(daemon)
        before = content(daemon, "f")
        for group in ("f1", "branch"):
            delete(daemon, group)
        daemon.close_gate("merged")
        job = daemon.request("DELETE", "/snapshot-groups/back").body
        daemon.await_gate("merged")
        daemon.kill()
        daemon.forget_gate("merged")
        daemon.start()
        expect(ended(daemon, job)["state"] == "done", "%s", daemon.get("/jobs/" + job["id"]))
        expect(content(daemon, "f") == before, "contents")
        expect(len(chain(daemon, "f")) == 1, "%s", chain(daemon, "f"))


def removed_by_hand(daemon):
    """The file of a detached clone is removed by its operator: it keeps nothing any more."""
    daemon.create_device("h", "qcow2", 4 * MIB)
    for number in (1, 2):
        write(daemon, "h", number, 0, MIB)
        daemon.snapshot("h%d" % number, ["h"])
    answer = daemon.request("POST", "/devices", {"name": "hc", "from": {"group": "h2", "device": "h"}})
    expect(answer.status == 201, "%s", answer)
    expect(daemon.request("DELETE", "/devices/hc").status == 204, "detach")
    os.unlink(daemon.image("hc.qcow2"))
    before = content(daemon, "h")
    for group in ("h1", "h2"):
        job, plan = delete(daemon, group)
        expect(not job["kept"] and not plan["kept"] and job["merges"], "%s: %s %s", group, job, plan)
    expect(content(daemon, "h") == before and len(chain(daemon, "h")) == 1, "%s", chain(daemon, "h"))


def readers_keep(daemon):
    """A device that is read-only cannot be cut; what is under it stays until it is gone."""
    daemon.create_device("e", "qcow2", 4 * MIB)
    for number in (1, 2):
        write(daemon, "e", number, 0, MIB)
        daemon.snapshot("e%d" % number, ["e"])
    frozen = daemon.get("/snapshot-groups/e2")["members"][0]["backing_file"]
    answer = daemon.request("POST", "/devices", {"name": "reader", "image": frozen, "format": "qcow2", "read_only": True})
    expect(answer.status == 201, "%s", answer)
    before = content(daemon, "e"), content(daemon, "reader")
    for group in ("e1", "e2"):
        job, plan = delete(daemon, group)
        expect(job["kept"] == plan["kept"] and not job["merges"], "%s: %s %s", group, job, plan)
        expect((content(daemon, "e"), content(daemon, "reader")) == before, "contents")
        (kept,) = job["kept"]
        expect(kept["because"] == ("image '%s', which stands on it, is attached read-only" % frozen if group == "e1" else
                                   "device 'reader' uses it"), "%s", kept)


def refused_alike(daemon, group, status, code, **headers):
    """By a dry run too, with the same words."""
    answers = [daemon.request("DELETE", "/snapshot-groups/%s%s" % (group, query), **headers) for query in ("?dry_run=true", "")]
    problems = []
    for answer in answers:
        expect((answer.status, answer.body["code"]) == (status, code), "%s", answer)
        problems.append({key: value for key, value in answer.body.items() if key not in ("request_id", "instance")})
    expect(problems[0] == problems[1], "%s", problems)


def refused(daemon):
    daemon.snapshot("held", ["c"])
    daemon.request("PUT", "/snapshot-groups/held/holds/backup")
    refused_alike(daemon, "held", 409, "GroupHeld")
    daemon.request("DELETE", "/snapshot-groups/held/holds/backup")
    refused_alike(daemon, "held", 412, "PreconditionFailed", If_Match='"00000000-1-0"')
    reader = daemon.nbd("c@held")
    refused_alike(daemon, "held", 409, "DeviceInUse")
    reader.shutdown()
    wait_until(lambda: daemon.request("DELETE", "/snapshot-groups/held").status == 202, "the reader to leave")
    for group in ("none", "kept"):
        refused_alike(daemon, group, 404, "GroupNotFound")
    expect(daemon.request("GET", "/jobs/none").body["code"] == "JobNotFound", "a job")


def cancelled_and_continued(daemon):
    """What a cancelled job has left undone is done by the next one; nobody sees the torn image."""
    daemon.create_device("d", "qcow2", 64 * MIB)
    for number in (1, 2):
        write(daemon, "d", number, 0, 32 * MIB)
        daemon.snapshot("d%d" % number, ["d"])
    write(daemon, "d", 3, 0, MIB)
    before = content(daemon, "d"), content(daemon, "d@d2")
    first = daemon.request("DELETE", "/snapshot-groups/d1").body
    path = "/jobs/" + first["id"]
    daemon.request("PATCH", path, {"rate_bytes_per_second": 1 << 20}, Content_Type="application/merge-patch+json")
    answer = daemon.request("PATCH", path, {"state": "cancelled"}, Content_Type="application/merge-patch+json")
    expect(answer.status in (200, 409), "%s", answer)
    wait_until(lambda: daemon.get(path)["state"] in ("cancelled", "done"), "the job to end")
    expect((content(daemon, "d"), content(daemon, "d@d2")) == before, "while it is cancelled")
    if daemon.get(path)["state"] == "cancelled":
        expect(daemon.get("/snapshot-groups/" + first["group"])["state"] == "deleting", "the group")
        second = daemon.request("DELETE", "/snapshot-groups/" + first["group"])
        expect(second.status == 202 and second.body["id"] != first["id"], "%s", second)
        job = ended(daemon, second.body)
        expect(job["state"] == "done", "%s", job)
    expect(daemon.get("/snapshot-groups/" + first["group"])["state"] == "deleted", "the group")
    expect((content(daemon, "d"), content(daemon, "d@d2")) == before, "afterwards")
    expect(len(chain(daemon, "d")) == 2, "%s", chain(daemon, "d"))


def test():
    killed_after_a_branch()
    with Daemon() as daemon:
        daemon.start()
        in_any_order(daemon)
        clones_keep(daemon)
        branches_go(daemon)
        removed_by_hand(daemon)
        readers_keep(daemon)
        cancelled_and_continued(daemon)
        refused(daemon)


main(test)
