#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# POST /snapshot-groups/{id}/copies: the image has what the group froze, no backing file, and no
# space for zeros; until it is complete it does not have its name. A copy is repeated by its key
# without being made twice, is planned by a dry run, and is refused without a trace. Its group
# cannot be deleted until it has finished. While a copy waits for its rate it is paused, continued,
# cancelled, or its daemon is stopped or killed: what is left of it is nothing, or the whole copy.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, qcow2_check, run, wait_until

MIB = 1 << 20
SIZE_BYTES = 8 * MIB
FAST = {"rate_bytes_per_second": 0}
FORMATS = ("qcow2", "raw")


def body_of(image, image_format="qcow2", device="vda"):
    return {"device": device, "image": image, "format": image_format}


def copy(daemon, image, image_format="qcow2", group="frozen", **headers):
    answer = daemon.request("POST", "/snapshot-groups/%s/copies" % group, body_of(image, image_format), **headers)
    expect(answer.status == 202 and answer.headers["Location"] == "/jobs/" + answer.body["id"], "%s", answer)
    return answer.body


def job_of(daemon, job):
    return daemon.get("/jobs/" + job["id"])


def await_end(daemon, job, expected="done"):
    wait_until(lambda: job_of(daemon, job)["state"] not in ("queued", "running"), "the copy to end")
    ended = job_of(daemon, job)
    expect(ended["state"] == expected, "%s", ended)
    return ended


def speed_up(daemon, job, **more):
    answer = daemon.request("PATCH", "/jobs/" + job["id"], {**FAST, **more})
    expect(answer.status == 200, "%s", answer)


def names(daemon):
    return {name for name in daemon.image_names() if not name.startswith("vd")}


def verify(daemon, image, image_format, content):
    path = daemon.image(image)
    reference = os.path.join(daemon.directory, "content")
    with open(reference, "wb") as data:
        data.write(content)
    run("qemu-img", "compare", "-f", "raw", "-F", image_format, reference, path)
    if image_format == "qcow2":
        qcow2_check(path)
        expect("backing" not in run("qemu-img", "info", path), "%s has a backing file", image)
    allocated = os.stat(path).st_blocks * 512
    expect(allocated < 5 * MIB, "%d bytes are allocated", allocated)


def refused(daemon, path, body, status, code, **fields):
    before = set(daemon.image_names())
    for query in ("", "?dry_run=true"):
        answer = daemon.request("POST", path + query, body)
        expect((answer.status, answer.body["code"]) == (status, code), "%s%s %s: %s", path, query, body, answer)
        for name, value in fields.items():
            expect(answer.body.get(name) == value, "%s: %s", name, answer)
    expect(set(daemon.image_names()) == before, "a refusal leaves %s", daemon.image_names())


def refusals(daemon):
    path = "/snapshot-groups/frozen/copies"
    refused(daemon, "/snapshot-groups/none/copies", body_of("x.qcow2"), 404, "GroupNotFound")
    refused(daemon, path, body_of("x.qcow2", device="vdx"), 404, "DeviceNotFound", pointer="/device")
    refused(daemon, path, body_of("x.vmdk", "vmdk"), 422, "InvalidBlockFormat", pointer="/format")
    refused(daemon, path, body_of("vda.qcow2"), 422, "OpenFileFailed", pointer="/image")
    refused(daemon, path, body_of("/etc/x.qcow2"), 422, "OpenFileFailed", pointer="/image")
    refused(daemon, path, body_of("../x.qcow2"), 422, "OpenFileFailed", pointer="/image")
    refused(daemon, path, body_of("absent/x.qcow2"), 422, "OpenFileFailed", pointer="/image")
    refused(daemon, path, {"device": "vda", "image": "x.qcow2"}, 400, "MissingField")
    refused(daemon, path, {**body_of("x.qcow2"), "size_bytes": 1}, 400, "UnknownField")
    expect(not daemon.list("/jobs"), "a refusal leaves a job")


def plain(daemon, content):
    os.mkdir(daemon.image("backup"))
    for image_format in FORMATS:
        image = "backup/vda." + image_format
        plan = daemon.request("POST", "/snapshot-groups/frozen/copies?dry_run=true", body_of(image, image_format))
        expect(plan.status == 200 and plan.body["image"] == daemon.image(image), "%s", plan)
        expect(3 * MIB <= plan.body["copy_bytes"] <= 4 * MIB, "%s", plan)
        expect(not os.listdir(daemon.image("backup")) or image_format == "raw", "a dry run makes an image")
        job = copy(daemon, image, image_format, Idempotency_Key='"%s"' % image_format)
        ended = await_end(daemon, job)
        expect((ended["kind"], ended["device"], ended["image"], ended["format"]) ==
               ("copy", "vda", daemon.image(image), image_format), "%s", ended)
        expect(ended["progress"] == {"done_bytes": plan.body["copy_bytes"], "total_bytes": plan.body["copy_bytes"]},
               "%s", ended)
        verify(daemon, image, image_format, content)
        again = copy(daemon, image, image_format, Idempotency_Key='"%s"' % image_format)
        expect(again["id"] == job["id"], "made twice: %s", again)
    expect(sorted(os.listdir(daemon.image("backup"))) == ["vda.qcow2", "vda.raw"], "strays are left")
    kinds = [event["kind"] for event in daemon.list("/events") if event["job"] == job["id"]]
    expect(kinds == ["job.queued", "job.running", "job.done"], "%s", kinds)


def use(daemon, content):
    """The copy is the operator's: it is attached, written, removed; the group stays as it is."""
    answer = daemon.request("POST", "/devices", {"name": "vdc", "image": "backup/vda.qcow2", "format": "qcow2"})
    expect(answer.status == 201, "%s", answer)
    handle = daemon.nbd("vdc")
    handle.pwrite(b"mine" * 128, 0)
    handle.shutdown()
    expect(daemon.request("DELETE", "/devices/vdc").status == 204, "vdc")
    handle = daemon.nbd("vda@frozen")
    expect(bytes(handle.pread(SIZE_BYTES, 0)) == content, "the group has changed")
    handle.shutdown()
    os.unlink(daemon.image("backup/vda.qcow2"))


def begin_slowly(daemon, image, image_format):
    """A copy that has done a piece, and waits for its rate."""
    job = copy(daemon, image, image_format)
    wait_until(lambda: any(name.startswith(".snapgroupd-" + job["id"]) for name in daemon.image_names()),
               "the copy to begin")
    expect(image not in daemon.image_names(), "a part of a copy has its name")
    return job


def busy(daemon, content):
    job = begin_slowly(daemon, "busy.raw", "raw")
    answer = daemon.request("DELETE", "/snapshot-groups/frozen")
    expect((answer.status, answer.body["code"], answer.body["holder"]) ==
           (409, "DeviceInUse", {"kind": "job", "id": job["id"]}), "%s", answer)
    answer = daemon.request("POST", "/snapshot-groups/frozen/copies", body_of("busy.raw", "raw"))
    expect((answer.status, answer.body["code"], answer.body["holder"]) ==
           (409, "DeviceInUse", {"kind": "job", "id": job["id"]}), "%s", answer)
    daemon.snapshot("beside", ["vda"])
    handle = daemon.nbd("vda@frozen")
    expect(bytes(handle.pread(SIZE_BYTES, 0)) == content, "the member cannot be read")
    handle.shutdown()
    speed_up(daemon, job)
    await_end(daemon, job)
    verify(daemon, "busy.raw", "raw", content)


def taken(daemon, content):
    """Another file has the name when the copy is complete: the copy fails, the file stays."""
    job = begin_slowly(daemon, "taken.raw", "raw")
    with open(daemon.image("taken.raw"), "w") as other:
        other.write("mine")
    speed_up(daemon, job)
    ended = await_end(daemon, job, "failed")
    expect(ended["error"]["code"] == "OpenFileFailed", "%s", ended)
    with open(daemon.image("taken.raw")) as other:
        expect(other.read() == "mine", "another file was overwritten")
    wait_until(lambda: not any(name.startswith(".") for name in daemon.image_names()), "the staged file to go")
    os.unlink(daemon.image("taken.raw"))


def staged(daemon):
    return [daemon.image(name) for name in daemon.image_names() if name.startswith(".")]


def paused(daemon, content, image_format):
    image = "paused." + image_format
    job = begin_slowly(daemon, image, image_format)
    speed_up(daemon, job, rate_bytes_per_second=1, state="paused")
    wait_until(lambda: job_of(daemon, job)["progress"]["done_bytes"], "the progress")
    (file,) = staged(daemon)
    inode = os.stat(file).st_ino
    expect(daemon.request("DELETE", "/snapshot-groups/frozen").body["holder"]["id"] == job["id"], "it has not ended")
    daemon.restart()
    expect(job_of(daemon, job)["state"] == "paused" and staged(daemon) == [file], "a restart: %s", job_of(daemon, job))
    speed_up(daemon, job, state="running")
    ended = await_end(daemon, job)
    expect(os.stat(daemon.image(image)).st_ino == inode, "a copy that was paused began anew")
    expect(ended["progress"]["done_bytes"] == ended["progress"]["total_bytes"], "%s", ended)
    verify(daemon, image, image_format, content)
    os.unlink(daemon.image(image))


def cancelled(daemon, is_paused):
    job = begin_slowly(daemon, "cancelled.qcow2", "qcow2")
    if is_paused:
        speed_up(daemon, job, rate_bytes_per_second=1, state="paused")
        wait_until(lambda: job_of(daemon, job)["progress"]["done_bytes"], "the progress")
    speed_up(daemon, job, rate_bytes_per_second=1, state="cancelled")
    wait_until(lambda: not staged(daemon), "the staged file to go")
    expect("cancelled.qcow2" not in daemon.image_names(), "a copy that was cancelled has its name")
    answer = daemon.request("PATCH", "/jobs/" + job["id"], {"state": "running"})
    expect((answer.status, answer.body["code"]) == (409, "JobFinished"), "%s", answer)


def interrupted(daemon, content, image_format, is_killed):
    image = "interrupted." + image_format
    job = begin_slowly(daemon, image, image_format)
    (file,) = staged(daemon)
    inode = os.stat(file).st_ino
    if is_killed:
        daemon.kill()
    else:
        daemon.stop()
    holder = os.open(file, os.O_RDONLY)  # its inode is not used again
    daemon.start()
    speed_up(daemon, job)
    await_end(daemon, job)
    expect((os.stat(daemon.image(image)).st_ino == inode) != is_killed, "killed: %s", is_killed)
    verify(daemon, image, image_format, content)
    os.close(holder)
    os.unlink(daemon.image(image))


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        handle = daemon.nbd("vda")
        handle.pwrite(b"\x11" * (3 * MIB), MIB)
        handle.pwrite(b"\x22" * 4096, 5 * MIB + 512)
        handle.zero(MIB, 2 * MIB + 4096)
        handle.pwrite(b"\x00" * MIB, 6 * MIB)
        content = bytes(handle.pread(SIZE_BYTES, 0))
        daemon.snapshot("frozen", ["vda"])
        handle.pwrite(b"\x33" * SIZE_BYTES, 0)
        handle.shutdown()
        refusals(daemon)
        plain(daemon, content)
        use(daemon, content)
        with daemon.stopped_database() as database:
            database.execute("CREATE TRIGGER slow AFTER INSERT ON jobs BEGIN "
                             "UPDATE jobs SET rate_bytes_per_second = 1 WHERE id = NEW.id; END")
        busy(daemon, content)
        taken(daemon, content)
        for is_paused in (False, True):
            cancelled(daemon, is_paused)
        for image_format in FORMATS:
            paused(daemon, content, image_format)
            for is_killed in (False, True):
                interrupted(daemon, content, image_format, is_killed)
        answer = daemon.request("DELETE", "/snapshot-groups/frozen")
        expect(answer.status == 202, "copies that have ended hold nobody: %s", answer)
        refused(daemon, "/snapshot-groups/frozen/copies", body_of("x.qcow2"), 409, "GroupDeleting")
        speed_up(daemon, answer.body)
        await_end(daemon, answer.body)


main(test)
