#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# PATCH of a job that deletes a group. While a job waits for its rate it is paused, continued,
# cancelled, or its daemon is stopped or killed: devices and groups that are left read as before and
# go on being written, the group stays `deleting`, and the job, or another one, ends what was begun.
# A trigger in the database gives each job a rate of one byte a second: after its first piece it
# waits, until the test raises its rate. A job that fails is repeated in the same way.
import contextlib
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, at_once, expect, main, qcow2_check, run, wait_until

MIB = 1 << 20
SIZE_BYTES = 8 * MIB
PUSHED_BYTES = 4 * MIB
PIECE_BYTES = 32 << 10  # a part of a cluster
STOP_S = 10
ROUNDS, CALLERS = 5, 8
FAST = {"rate_bytes_per_second": 0}


@contextlib.contextmanager
def held_by_qemu(image):
    command = ["qemu-io", "-r", "-f", "qcow2", image]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        said = b""
        while b"qemu-io> " not in said:
            part = os.read(reader.stdout.fileno(), 4096)
            expect(part, "qemu-io cannot open %s: %s", image, said)
            said += part
        yield
        reader.communicate(b"quit\n")


class Device:
    """vda, whose oldest group is deleted each time."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.number = 0
        self.known = {}
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        self.take()

    def write(self, offset, length):
        self.number += 1
        handle = self.daemon.nbd("vda")
        handle.pwrite(bytes([self.number]) * length, offset)
        handle.flush()
        self.known["vda"] = bytes(handle.pread(SIZE_BYTES, 0))
        handle.shutdown()

    def take(self):
        self.write(512, PUSHED_BYTES)
        self.pushed = self.number
        name = "g%d" % self.number
        self.daemon.snapshot(name, ["vda"])
        self.known["vda@" + name] = self.known["vda"]
        return name

    def verify(self, what):
        for export, content in self.known.items():
            handle = self.daemon.nbd(export)
            expect(bytes(handle.pread(SIZE_BYTES, 0)) == content, "%s: %s has changed", what, export)
            handle.shutdown()

    def base(self):
        return self.daemon.get("/devices/vda")["chain"][-1]["image"]

    def forget_oldest(self):
        oldest = [export for export in self.known if "@" in export][0]
        del self.known[oldest]
        return oldest.partition("@")[2]


def job_of(daemon, job):
    return daemon.get("/jobs/" + job["id"])


def change(daemon, job, expected, **body):
    """The job is in that state then."""
    answer = daemon.request("PATCH", "/jobs/" + job["id"], body)
    expect(answer.status == 200 and answer.body["state"] == expected, "PATCH %s: %s", body, answer)


def ask(daemon, job, **body):
    """It may be queued, then or still."""
    answer = daemon.request("PATCH", "/jobs/" + job["id"], body)
    expect(answer.status == 200, "%s", answer)


def speed_up(daemon, job):
    ask(daemon, job, **FAST)


def delete(daemon, group):
    answer = daemon.request("DELETE", "/snapshot-groups/" + group)
    expect(answer.status == 202, "DELETE %s: %s", group, answer)
    return answer.body


def is_in(image, pattern):
    with open(image, "rb") as data:
        return pattern in data.read()


def begin(device):
    """A job that has read one piece to push, and waits for its rate."""
    daemon = device.daemon
    device.take()
    group = device.forget_oldest()
    before = daemon.job_bytes()
    job = delete(daemon, group)
    wait_until(lambda: daemon.job_bytes() > before, "the first piece")
    return group, job


def await_done(device, group, job):
    daemon = device.daemon
    wait_until(lambda: job_of(daemon, job)["state"] not in ("queued", "running"), "the job to end")
    ended = job_of(daemon, job)
    expect(ended["state"] == "done" and not ended["error"], "%s", ended)
    expect(daemon.get("/snapshot-groups/" + job["group"])["state"] == "deleted", "%s is not deleted", group)
    expect(daemon.request("GET", "/snapshot-groups/" + group).status == 404, "%s is found", group)
    device.verify("after " + group)
    chain = daemon.chain("vda")
    expect(not ended["kept"] and len(chain) == 2 + len([name for name in device.known if "@" in name]) - 1,
           "%s, %s", ended, chain)
    expect(sorted(map(daemon.image, daemon.image_names())) == sorted(chain), "%s: %s", chain, daemon.image_names())
    for image in chain:
        qcow2_check(image)
    for state in ("paused", "running", "cancelled"):
        is_refused(daemon, job, state)


def is_refused(daemon, job, state):
    answer = daemon.request("PATCH", "/jobs/" + job["id"], {"state": state})
    expect((answer.status, answer.body["code"]) == (409, "JobFinished"), "%s: %s", state, answer)


def group_is_deleting(daemon, job):
    expect(daemon.get("/snapshot-groups/" + job["group"])["state"] == "deleting", "the group comes back")


def paused(device):
    daemon = device.daemon
    group, job = begin(device)
    change(daemon, job, "paused", state="paused")
    done_bytes = wait_until(lambda: job_of(daemon, job)["progress"]["done_bytes"], "the progress")
    expect(done_bytes <= MIB, "%d bytes were pushed since the rate was changed", done_bytes)
    device.write(0, 3 * MIB)
    device.verify("paused")
    change(daemon, job, "paused", state="paused", **FAST)
    expect(delete(daemon, group)["id"] == job["id"], "a paused job is one that has not ended")
    daemon.restart()
    expect(job_of(daemon, job)["state"] == "paused", "a restart: %s", job_of(daemon, job))
    group_is_deleting(daemon, job)
    merged_images_are_barred(device, group, job)
    device.verify("paused, after a restart")
    ask(daemon, job, state="running")
    await_done(device, group, job)


def cancelled(device):
    daemon = device.daemon
    group, job = begin(device)
    change(daemon, job, "cancelled", state="cancelled")
    is_refused(daemon, job, "running")
    device.write(2 * MIB, 3 * MIB)
    device.verify("cancelled")
    pushed = wait_until(lambda: job_of(daemon, job)["progress"]["done_bytes"], "the progress")
    expect(0 < pushed <= MIB, "%s", job_of(daemon, job))
    daemon.restart()
    merged_images_are_barred(device, group)
    expect(job_of(daemon, job)["state"] == "cancelled", "a restart: %s", job_of(daemon, job))
    group_is_deleting(daemon, job)
    device.verify("cancelled, after a restart")
    again = delete(daemon, group)
    expect(again["id"] != job["id"], "another job goes on")
    total = again["progress"]["total_bytes"]
    expect(total == job_of(daemon, job)["progress"]["total_bytes"] - pushed, "%s bytes are left, %s", total, again)
    speed_up(daemon, again)
    await_done(device, group, again)
    expect(job_of(daemon, again)["progress"] == {"done_bytes": total, "total_bytes": total}, "%s", job_of(daemon, again))
    expect(job_of(daemon, job)["progress"]["done_bytes"] == pushed, "%s", job_of(daemon, job))


def merged_images_are_barred(device, group, job=None):
    """Nothing is put on an image that is torn; the groups that are deleted say so. A retry helps if
    a job goes on."""
    daemon = device.daemon
    chain = daemon.chain("vda")
    hand = daemon.image("hand.qcow2")
    run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", chain[-1], "-F", "qcow2", hand, str(SIZE_BYTES))
    for image, read_only in ((hand, False), (chain[-1], True), (chain[-2], True)):
        answer = daemon.request("POST", "/devices", {"name": "hand", "image": image, "format": "qcow2",
                                                     "read_only": read_only})
        expect((answer.status, answer.body["code"], answer.body["retryable"], answer.body.get("holder")) ==
               ((409, "DeviceInUse", True, {"kind": "job", "id": job["id"]}) if job else
                (409, "GroupDeleting", False, None)), "%s: %s", image, answer)
    os.unlink(hand)
    answer = daemon.request("GET", "/snapshot-groups/%s/members/vda/extents" % group)
    expect((answer.status, answer.body["code"]) == (409, "GroupDeleting"), "%s", answer)


def of_another_group(device):
    """The next job of the tree, of whichever group, finishes what was left, and merges its own."""
    daemon = device.daemon
    group, job = begin(device)
    change(daemon, job, "cancelled", state="cancelled")
    device.take()
    other = device.forget_oldest()
    again = delete(daemon, other)
    speed_up(daemon, again)
    wait_until(lambda: job_of(daemon, again)["state"] not in ("queued", "running"), "the job to end")
    ended = job_of(daemon, again)
    expect(ended["state"] == "done" and not ended["kept"], "%s", ended)
    expect(len(ended["merges"]) == 2 and not job_of(daemon, job)["merges"], "%s", ended)
    progress = ended["progress"]
    expect(progress["done_bytes"] == progress["total_bytes"], "%s", ended)
    group_is_deleting(daemon, job)
    device.verify("after both")
    last = delete(daemon, group)
    wait_until(lambda: job_of(daemon, last)["state"] == "done", "the job of nothing")
    expect(daemon.get("/snapshot-groups/" + job["group"])["state"] == "deleted", "%s", last)
    device.verify("after all three")


def taken_over(device):
    """A job that is cancelled ends a merge that is past its bytes, though another one has it by
    then. A trigger makes sure of the moment; the job itself is not stopped."""
    daemon = device.daemon
    group, job = begin(device)
    with daemon.stopped_database() as database:
        heir = database.execute("SELECT id FROM jobs WHERE state = 'cancelled'").fetchone()[0]
        database.execute("CREATE TRIGGER taken AFTER UPDATE ON merges WHEN NEW.stage = 'copied' AND "
                         "NOT EXISTS (SELECT 1 FROM merges WHERE job_id = '%s') BEGIN "
                         "UPDATE merges SET job_id = '%s' WHERE id = NEW.id; END" % (heir, heir))
    speed_up(daemon, job)
    wait_until(lambda: job_of(daemon, job)["state"] == "done", "the job to end")
    with daemon.stopped_database() as database:
        database.execute("DROP TRIGGER taken")
    stages = [merge["stage"] for merge in job_of(daemon, {"id": heir})["merges"]]
    expect(stages == ["done"], "%s", stages)
    await_done(device, group, job)


def failed(device):
    daemon = device.daemon
    device.take()
    group = device.forget_oldest()
    with held_by_qemu(device.base()):
        job = delete(daemon, group)
        wait_until(lambda: job_of(daemon, job)["state"] == "failed", "the job to fail")
    expect(job_of(daemon, job)["error"]["code"] == "OpenFileFailed", "%s", job_of(daemon, job))
    group_is_deleting(daemon, job)
    device.verify("failed")
    is_refused(daemon, job, "running")
    again = delete(daemon, group)
    speed_up(daemon, again)
    await_done(device, group, again)


def remove_device(daemon, name):
    answer = daemon.request("DELETE", "/devices/" + name)
    expect(answer.status == 204, "%s", answer)
    for image in daemon.image_names():
        if image.startswith(name):
            os.unlink(daemon.image(image))


def slow_other(daemon, name):
    """A job of another tree, which waits for its rate, too."""
    daemon.create_device(name, "qcow2", MIB)
    for number in range(2):
        handle = daemon.nbd(name)
        handle.pwrite(bytes([1 + number]) * (MIB // 2), 0)
        handle.shutdown()
        daemon.snapshot("%s-%d" % (name, number), [name])
    job = delete(daemon, name + "-0")
    wait_until(lambda: job_of(daemon, job)["merges"], "the job to begin")
    return job


def queued(device):
    """Two jobs run, of two trees. One behind them is changed before it begins; cancelled, it never
    begins."""
    daemon = device.daemon
    expect(daemon.get("/limits")["running_jobs"] == 2, "two jobs and no more are made here")
    daemon.create_device("vdc", "qcow2", MIB)
    daemon.snapshot("other", ["vdc"])
    group, job = begin(device)
    beside = slow_other(daemon, "vdb")
    expect([job_of(daemon, one)["state"] for one in (job, beside)] == ["running"] * 2, "two at a time")
    second = delete(daemon, "other")
    expect(job_of(daemon, second)["state"] == "queued", "two at a time: %s", second)
    change(daemon, second, "paused", state="paused")
    change(daemon, second, "queued", state="running")
    change(daemon, second, "cancelled", state="cancelled")
    for one in (job, beside):
        speed_up(daemon, one)
        wait_until(lambda: job_of(daemon, one)["state"] == "done", "the first ones")
    expect(not job_of(daemon, second)["merges"], "the second one has begun: %s", second)
    group_is_deleting(daemon, second)
    third = delete(daemon, "other")
    wait_until(lambda: job_of(daemon, third)["state"] == "done", "the third one")
    answer = daemon.request("DELETE", "/snapshot-groups/vdb-1")
    expect(answer.status == 202, "%s", answer)  # with nothing to push: it waits for no rate
    wait_until(lambda: job_of(daemon, answer.body)["state"] == "done", "the last one of vdb")
    for name in ("vdb", "vdc"):
        remove_device(daemon, name)
    await_done(device, group, job)


def in_line(device):
    """One job at a time of a tree: the other one is queued, though a thread is free."""
    daemon = device.daemon
    group, job = begin(device)
    device.take()
    second = delete(daemon, device.forget_oldest())
    beside = slow_other(daemon, "vdb")  # its thread has looked at the queue
    expect(job_of(daemon, second)["state"] == "queued", "one of a tree at a time: %s", second)
    # The queued one while it is queued: the first may leave it nothing to do.
    for one in (second, beside, job):
        speed_up(daemon, one)
    for one in (second, beside):
        wait_until(lambda: job_of(daemon, one)["state"] == "done", "the others")
    answer = daemon.request("DELETE", "/snapshot-groups/vdb-1")
    wait_until(lambda: job_of(daemon, answer.body)["state"] == "done", "the last one of vdb")
    remove_device(daemon, "vdb")
    await_done(device, group, job)


def on_a_condition(device):
    """Of changes at once that name one version, one is made, as a whole."""
    daemon = device.daemon
    group, job = begin(device)
    change(daemon, job, "paused", state="paused")
    path = "/jobs/" + job["id"]
    for number in range(ROUNDS):
        wait_until(lambda: job_of(daemon, job)["progress"]["done_bytes"], "the progress")
        tag = daemon.request("GET", path).headers["ETag"]
        bodies = [{"rate_bytes_per_second": 1 + number * CALLERS + caller} for caller in range(CALLERS)]
        answers = at_once(*(lambda body=body: daemon.request("PATCH", path, body, If_Match=tag) for body in bodies))
        made = [body for body, answer in zip(bodies, answers) if answer.status == 200]
        expect(len(made) == 1 and {answer.status for answer in answers} == {200, 412}, "%s", list(map(str, answers)))
        expect(job_of(daemon, job)["rate_bytes_per_second"] == made[0]["rate_bytes_per_second"], "%s", made)
    tag = daemon.request("GET", path).headers["ETag"]
    answer = daemon.request("PATCH", path, {"state": "running", **FAST}, If_Match=tag)
    expect(answer.status == 200 and answer.body["rate_bytes_per_second"] == 0, "%s", answer)
    await_done(device, group, job)


def stopped(device):
    daemon = device.daemon
    group, job = begin(device)
    began = time.monotonic()
    daemon.stop()
    expect(time.monotonic() - began < STOP_S, "SIGTERM took %.1f s", time.monotonic() - began)
    daemon.start()
    goes_on(device, group, job)


def killed(device):
    """Before the first piece is written, which a pause does, and after it."""
    for has_pause in (False, True):
        group, job = begin(device)
        if has_pause:
            base, piece = device.base(), bytes([device.pushed]) * PIECE_BYTES
            change(device.daemon, job, "paused", state="paused")
            wait_until(lambda: is_in(base, piece), "the first piece in its base")
            ask(device.daemon, job, state="running")
            wait_until(lambda: job_of(device.daemon, job)["state"] == "running", "the job to run on")
        device.daemon.kill()
        device.daemon.start()
        goes_on(device, group, job)


def goes_on(device, group, job):
    now = job_of(device.daemon, job)
    expect(now["state"] == "running" and now["rate_bytes_per_second"] == 1, "%s", now)
    device.verify("after a start")
    speed_up(device.daemon, job)
    await_done(device, group, job)


def test():
    with Daemon() as daemon:
        daemon.start()
        with daemon.stopped_database() as database:
            database.execute("CREATE TRIGGER slow AFTER INSERT ON jobs BEGIN "
                             "UPDATE jobs SET rate_bytes_per_second = 1 WHERE id = NEW.id; END")
        device = Device(daemon)
        for case in (paused, cancelled, of_another_group, taken_over, failed, queued, in_line, on_a_condition, stopped, killed):
            case(device)
        with open(daemon.log_path) as log:
            expect("no memory" not in log.read(), "a job without a file was settled as a copy")


main(test)
