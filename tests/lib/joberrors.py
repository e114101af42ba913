# SPDX-License-Identifier: Apache-2.0
"""EIO, ENOSPC and ENOMEM from single system calls while a group is deleted: of the thread that
serves the request, of the one that runs the job, from its begin or from when it merges live tops
(collapse), of the one that looks at the images for the plans of both, and of one that serves an NBD
client meanwhile: who reads, or who writes while the top is merged.

A disk more than those of deletewalk.py has a client that writes and flushes all the time, and
readers compare the other disks and what is frozen of them with what is known until the job has
ended. Whatever failed,
  - no client gets an error, but the one whose own thread was hit; no device fails, but one whose
    own top could not be synced;
  - the job is done, or has failed and says why; or the call was refused and the group is as before;
  - all views are the same to the byte;
  - the call repeated succeeds, after which there is no file too many and none too few, and
    qemu-img finds no error in any. What could not be synced is not written before the next boot.
"""
import os
import re
import shutil
import sys
import threading
import time

import nbd
from deletewalk import DEVICES, SIZE_BYTES, Delete
from errorwalk import CALLS
from gates import GatedDaemon
from killwalk import daemon_with_jobs_alone
from snapgroupd import Failure, expect, qcow2_check, wait_until
from strace import Strace, Walk, served_by, threads_named
from writers import Disk, start_writers, stop_writers

BUSY = "busy"
SYNCS = r"f(data)?sync|sync_file_range"
HITS = ("request", "jobs", "collapse", "writer", "plans", "nbd")
OF_COLLAPSES = ("collapse", "writer")
WRITTEN = "vdb"  # while its top is merged
FINISHED = ("done", "failed", "cancelled")


class Reader(threading.Thread):
    """Compares exports with what they are known to hold, until it is stopped."""

    def __init__(self, daemon, known):
        super().__init__(daemon=True)
        self.service = daemon
        self.handles = [(export, content, daemon.nbd(export)) for export, content in known.items()]
        self.exports = list(known)
        self.stopping = threading.Event()
        self.rounds = 0
        self.failure = None
        self.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                for export, content, handle in self.handles:
                    expect(bytes(handle.pread(SIZE_BYTES, 0)) == content, "a reader of %s finds other content", export)
                self.rounds += 1
                self.stopping.wait(0.002)
        except Exception as failure:  # Failure, or libnbd's; the test's own thread raises it
            self.failure = failure

    def stop(self):
        rounds = self.rounds
        wait_until(lambda: self.failure or self.rounds > rounds + 1, "a reader to go on")
        self.stopping.set()
        self.join()
        self.handles = None
        if self.failure and not (isinstance(self.failure, nbd.Error) and self.reads_failed_device()):
            raise self.failure

    def reads_failed_device(self):
        """Whether it may have failed is for who injected the fault to say."""
        return any(device["state"] == "failed" and device["name"] in self.exports for device in self.service.list("/devices"))


def client_to_hit(daemon, export):
    """A new client and the id of the thread that serves it."""
    before = set(threads_named(daemon.pid, "nbd-conn"))
    handle = daemon.nbd(export)
    # It may serve before it has its name.
    new = wait_until(lambda: set(threads_named(daemon.pid, "nbd-conn")) - before, "the thread of a new NBD client")
    expect(len(new) == 1, "%d new threads serve one new NBD client", len(new))
    return handle, new.pop()


class HitReader:
    """Reads like the others, from a thread of the daemon that faults hit: each may cost one
    request."""

    def __init__(self, daemon, export, content):
        self.handle, self.thread = client_to_hit(daemon, export)
        self.export, self.content = export, content
        self.errors = 0

    def read(self):
        try:
            data = bytes(self.handle.pread(SIZE_BYTES, 0))
        except nbd.Error:
            self.errors += 1
            return
        expect(data == self.content, "the reader that was hit finds other content in %s", self.export)


class HitWriter:
    """Changes a device from a thread of the daemon that faults hit. What failed is in doubt, until
    it is done again."""
    BEFORE = [("write", 0, 65536), ("write", 200 << 10, 65536), ("write", 400 << 10, 4096)]
    CHANGES = [("write", 4096, 4096), ("write", 100 << 10, 12288), ("write", (150 << 10) + 512, 1024), ("flush", 0, 0),
               ("zero", 202 << 10, 8192), ("zero", 300 << 10, 65536), ("write", 302 << 10, 512), ("durable", 12288, 512),
               ("write", 70000 // 512 * 512, 70144), ("flush", 0, 0)]

    def __init__(self, daemon, content, step):
        self.service, self.byte = daemon, 1 + step % 250
        self.handle, self.thread = client_to_hit(daemon, WRITTEN)
        self.content = bytearray(content)
        self.undone = []
        for change in self.BEFORE:
            self.make(change)

    def make(self, change):
        kind, offset, length = change
        data = bytes([0 if kind == "zero" else self.byte]) * length
        self.content[offset:offset + length] = data
        if kind == "flush":
            self.handle.flush()
        elif kind == "zero":
            self.handle.zero(length, offset)
        else:
            self.handle.pwrite(data, offset, nbd.CMD_FLAG_FUA if kind == "durable" else 0)

    def make_all(self):
        for change in self.CHANGES:
            try:
                self.make(change)
            except nbd.Error:
                self.undone.append(change)

    def make_undone(self):
        """What the device is to hold, where that is in doubt: after a failed flush, in all that was
        changed. All that it holds then."""
        is_flushed = not any(kind in ("flush", "durable") for kind, *_ in self.undone)
        handle = self.service.nbd(WRITTEN)
        for _, offset, length in self.undone if is_flushed else self.BEFORE + self.CHANGES:
            if length:
                handle.pwrite(self.content[offset:offset + length], offset)
        handle.shutdown()
        return bytes(self.content)


class Step:
    """One DELETE, a part of it traced with faults. `hit`: whose calls these are."""

    def __init__(self, test, number, injections):
        self.test, self.number, self.daemon = test, number, test.daemon
        self.injections = injections
        self.answer = self.job = None
        self.hit_reader = self.writer = None
        self.run = {"request": self.hit_request, "jobs": self.hit_jobs, "collapse": self.hit_collapse,
                    "writer": self.hit_writer, "plans": self.hit_plans, "nbd": self.hit_nbd}[test.hit]

    def strace(self, thread):
        return Strace(thread, *self.injections, output=os.path.join(self.daemon.directory, "strace"))

    def ask(self, connection):
        self.answer = connection.ask("DELETE", "/snapshot-groups/" + self.test.delete.id)

    def await_end(self):
        self.job = self.test.await_job()

    def hit_request(self):
        connection, thread = served_by(self.daemon)
        with self.strace(thread) as strace:
            self.ask(connection)
        connection.close()
        self.await_end()
        return strace

    def hit_jobs(self):
        return self.hit_named("jobs")

    def ask_and_await(self, gate):
        self.daemon.close_gate(gate)
        connection = self.daemon.connection()
        self.ask(connection)
        self.daemon.await_gate(gate)
        connection.close()

    def hit_collapse(self):
        """The same thread, once all that is frozen is merged."""
        gate = "collapse-" + self.test.delete.devices[0]
        self.ask_and_await(gate)
        with self.strace(self.thread_named("jobs")) as strace:
            self.daemon.open_gate(gate)
            self.await_end()
        return strace

    def hit_writer(self):
        """All changes go to both images meanwhile: the job stands after a piece."""
        gate = "collapse-" + WRITTEN
        self.ask_and_await(gate)
        writer = HitWriter(self.daemon, self.test.delete.known[WRITTEN], self.number)
        self.limit_rate(1)
        pushed = self.daemon.job_bytes()
        self.daemon.open_gate(gate)
        wait_until(lambda: self.daemon.job_bytes() > pushed, "a piece to be merged")
        with self.strace(writer.thread) as strace:
            writer.make_all()
        writer.handle.shutdown()
        is_of_base = self.daemon.image(WRITTEN + ".qcow2") in (strace.injected or "")
        is_read = (strace.injected or "").startswith("pread")  # for a part of a cluster of the top
        expect(not writer.undone or not is_of_base or is_read, "%s fails %s", strace.injected, writer.undone)
        self.writer = writer
        self.limit_rate(0)
        self.await_end()
        return strace

    def limit_rate(self, bytes_per_second):
        answer = self.daemon.request("PATCH", "/jobs/" + self.answer.body["id"], {"rate_bytes_per_second": bytes_per_second})
        expect(answer.status == 200 or answer.body["code"] == "JobFinished", "%s", answer)

    def hit_plans(self):
        """The thread that has planned plans again, while there is one plan at a time."""
        answer = self.daemon.request("DELETE", "/snapshot-groups/%s?dry_run=true" % self.test.delete.id)
        expect(answer.status == 200, "a plan: %s", answer)
        return self.hit_named("storage-calls")

    def thread_named(self, name):
        named = threads_named(self.daemon.pid, name)
        expect(len(named) == 1, "%d threads are called %s", len(named), name)
        return named[0]

    def hit_named(self, name):
        thread = self.thread_named(name)
        connection = self.daemon.connection()
        with self.strace(thread) as strace:
            self.ask(connection)
            self.await_end()
        connection.close()
        return strace

    def hit_nbd(self):
        self.hit_reader = HitReader(self.daemon, "vdb", self.test.delete.known["vdb"])
        connection = self.daemon.connection()
        with self.strace(self.hit_reader.thread) as strace:
            self.ask(connection)
            self.hit_reader.read()
            self.await_end()
            self.hit_reader.read()
        connection.close()
        expect(self.hit_reader.errors <= 1, "one fault costs %d requests", self.hit_reader.errors)
        return strace


class DeleteErrors:
    """As a test of walk_errors(). `is_newest` as in deletewalk.py."""

    def __init__(self, daemon, hit, is_newest):
        self.daemon, self.hit, self.is_newest = daemon, hit, is_newest
        self.refusals = self.failed_jobs = self.survivals = self.failed_devices = 0
        self.writers = []
        daemon.start_with(DEVICES, SIZE_BYTES)
        daemon.create_device(BUSY, "qcow2", SIZE_BYTES)
        self.disk = Disk(BUSY, SIZE_BYTES)
        self.writers = start_writers(daemon, [self.disk])
        self.delete = Delete(daemon, "g", is_newest, [BUSY])
        if hit in OF_COLLAPSES:
            self.delete_first()

    def delete_first(self):
        """So that each device is one file after each step."""
        group, = self.daemon.list("/snapshot-groups")
        self.delete.name, self.delete.id = group["name"], group["id"]
        self.repeat()
        self.delete.forget()
        self.boot()  # the images are opened by their names, which strace shows

    def expect_one_file(self):
        for device in self.delete.devices:
            chain = self.daemon.get("/devices/" + device)["chain"]
            expect(len(chain) == 1, "%s has %s", device, chain)

    def end(self):
        stop_writers(self.writers)
        self.daemon.stop()
        for name in self.daemon.image_names():
            if name.endswith(".qcow2"):
                qcow2_check(self.daemon.image(name))
        self.daemon.wipe()

    def await_job(self):
        """The newest job, if it is one of this group, once it has ended; else None."""
        def look():
            jobs = self.daemon.get_when_open("/jobs?limit=1")["items"]
            job = jobs[0] if jobs and jobs[0]["group"] == self.delete.id else None
            return [job] if not job or job["state"] in FINISHED else None
        return wait_until(look, "the job to end")[0]

    def step(self, step, *injections):
        """One deletion; its trace."""
        self.delete.before(step)
        readers = [Reader(self.daemon, {export: content}) for export, content in self.delete.known.items()
                   if not export.endswith("@" + self.delete.name) and (self.hit != "writer" or export != WRITTEN)]
        this = Step(self, step, injections)
        strace = None
        try:
            strace = this.run()
            for reader in readers:
                reader.stop()
            self.judge(this, strace.injected or "")
        except Exception:
            sys.stderr.write("spoiled: %s %s\nanswer: %s\njob: %s\n" % (
                injections, strace and strace.injected, this.answer, this.job))
            raise
        return strace

    def judge(self, this, injected):
        state = self.daemon.get_when_open("/snapshot-groups/" + self.delete.id)["state"]
        self.count(this, state)
        expect(injected or state == "deleted", "there was no fault, and the group is %s: %s", state, this.job)
        if not injected and self.hit in OF_COLLAPSES:
            self.expect_one_file()
        self.verify_devices(injected)
        if this.writer:
            self.delete.known[WRITTEN] = this.writer.make_undone()
        self.verify_views(state)
        if state != "deleted":
            self.verify_images()
            self.repeat()
        answer = self.daemon.request("DELETE", "/snapshot-groups/" + self.delete.name)
        expect((answer.status, answer.body["code"]) == (404, "GroupNotFound"), "again: %s", answer)
        self.delete.forget()
        self.delete.verify_content()
        self.delete.verify_files()
        if re.match(SYNCS, injected) and self.daemon.images in injected:
            self.boot()  # or the image would not be written again

    def count(self, this, state):
        if this.answer.status != 202:
            self.refusals += 1
            expect(this.answer.status >= 400 and this.answer.headers["Content-Type"] == "application/problem+json",
                   "the refusal is %s", this.answer)
            expect(state == "committed" or this.answer.status == 503, "%s, and the group is %s", this.answer, state)
        elif this.job["state"] == "failed":
            self.failed_jobs += 1
            expect(this.job["error"]["code"], "%s", this.job)
            # It may have been tried again by itself since.
            expect(state == "deleting" or self.await_job()["state"] == "done", "the group is %s: %s", state, this.job)
        else:
            self.survivals += 1
            expect((state, this.job["state"]) == ("deleted", "done"), "the group is %s: %s", state, this.job)

    def verify_views(self, state):
        self.delete.verify_content()
        if state == "committed":
            for device in DEVICES:
                self.delete.verify_export("%s@%s" % (device, self.delete.name))

    def verify_images(self):
        """Of a job that is tried again by itself, a file may go meanwhile."""
        for name in self.daemon.image_names():
            if name.endswith(".qcow2") and not name.startswith("."):
                try:
                    qcow2_check(self.daemon.image(name))
                except Failure:
                    expect(name not in self.daemon.image_names(), "%s is not whole", name)

    def verify_devices(self, injected):
        """One may have failed, if what failed was the sync of its own top: of its header, which is
        written to while its clients write."""
        shown = [self.daemon.get_when_open("/devices/" + device) for device in self.delete.devices]
        failed = [device for device in shown if device["state"] == "failed"]
        is_its_own = re.match(SYNCS, injected) and failed and failed[0]["top"] in failed[0]["reason"]
        expect(not failed or (len(failed) == 1 and is_its_own), "failed devices: %s", failed)
        if failed:
            self.failed_devices += 1
            self.boot()
        for writer in self.writers:
            writer.expect_progress()

    def boot(self):
        """As if the machine had been booted: what could not be synced is good again, and of a
        device that has failed only what was flushed is left for sure."""
        stop_writers(self.writers)
        if self.daemon.get_when_open("/devices/" + BUSY)["state"] == "failed":
            self.disk.acknowledged = list(self.disk.flushed)
        self.daemon.stop()
        shutil.rmtree(self.daemon.runtime)
        os.mkdir(self.daemon.runtime)
        self.daemon.start()
        self.disk.verify_device(self.daemon)
        self.writers = start_writers(self.daemon, [self.disk])

    def repeat(self):
        if self.try_again() == "deleted":
            return
        expect(self.await_job()["error"]["code"] in ("UnflushedData", "DeviceFailed"), "again: %s", self.await_job())
        self.boot()
        state = self.try_again()
        expect(state == "deleted", "after a boot: the group is %s: %s", state, self.await_job())

    def try_again(self):
        """The state that one more DELETE leads to."""
        def ask():
            answer = self.daemon.request("DELETE", "/snapshot-groups/" + self.delete.id)
            expect(answer.status in (202, 404, 503), "again: %s", answer)
            return answer.status != 503
        wait_until(ask, "the next DELETE to be accepted")
        self.await_job()
        return self.daemon.get_when_open("/snapshot-groups/" + self.delete.id)["state"]


def walk_errors(hit, is_newest, error, stride):
    """The fault at every `stride`th call; how many there were."""
    began = time.monotonic()
    walk = Walk(lambda name: name in CALLS[error], stride)
    with GatedDaemon() if hit in OF_COLLAPSES else daemon_with_jobs_alone() as daemon:
        test = DeleteErrors(daemon, hit, is_newest)
        points = walk.inject(test.step, error)
        test.end()
    print("%s of the thread `%s`, %s: %d faults at %d kinds of call in %.0f s: %d refused, %d failed jobs, %d survived,"
          " %d failed devices" % (error, hit, "newest" if is_newest else "older", points, len(walk.names),
                                  time.monotonic() - began, test.refusals, test.failed_jobs, test.survivals,
                                  test.failed_devices), flush=True)
    return points


def delete_error_walks(stride, hits=HITS, ages=(False, True), errors=tuple(CALLS)):
    points = [walk_errors(hit, is_newest, error, stride)
              for hit in hits for is_newest in ages if is_newest or hit not in OF_COLLAPSES for error in errors]
    print("%d faults while groups were deleted" % sum(points), flush=True)
    expect(sum(points) > 0, "there were no faults")
