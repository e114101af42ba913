# SPDX-License-Identifier: Apache-2.0
"""A frozen member to be copied, and what must hold of its copies. Errors from single system calls
while it is copied, of the thread that serves the request, of the one that looks at the images for
it, or of the one that runs the job. Whatever failed,
  - the image is whole and has its name, and the job is done; or the job has failed and says why, or
    the call was refused, and nothing of the image is left;
  - the device and the frozen member read as before, and the device is online;
  - the call repeated succeeds.
"""
import os
import subprocess
import sys
import time

from errorwalk import CALLS
from killwalk import jobs_of
from snapgroupd import Daemon, expect, run, wait_until
from strace import Strace, Walk, served_by, threads_named

SIZE_BYTES = 512 << 10


class Frozen:
    """vda, and the group that is copied."""

    def __init__(self, daemon, image_format):
        self.daemon = daemon
        self.format = image_format
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        handle = daemon.nbd("vda")
        handle.pwrite(b"\x55" * 200192 + b"\x66" * (480 << 8), 4096 * 3 - 512)
        handle.shutdown()
        self.content = self.read("vda")
        daemon.snapshot("frozen", ["vda"])
        self.files = sorted(daemon.image_names())
        self.reference = os.path.join(daemon.directory, "content")
        with open(self.reference, "wb") as data:
            data.write(self.content)

    def read(self, export):
        handle = self.daemon.nbd(export)
        data = bytes(handle.pread(SIZE_BYTES, 0))
        handle.shutdown()
        return data

    def request(self, image):
        return "POST", "/snapshot-groups/frozen/copies", {"device": "vda", "image": image, "format": self.format}

    def job(self, image):
        """The newest one, if it makes the image."""
        jobs = [job for job in self.daemon.get_when_open("/jobs?limit=1")["items"] if job["image"] == self.daemon.image(image)]
        return jobs[0] if jobs else None

    def await_job(self, image):
        wait_until(lambda: (self.job(image) or {"state": None})["state"] not in ("queued", "running"), "the copy to end")
        return self.job(image)

    def verify_image(self, image):
        path = self.daemon.image(image)
        run("qemu-img", "compare", "-f", "raw", "-F", self.format, self.reference, path)
        if self.format == "qcow2":
            done = subprocess.run(["qemu-img", "check", path], capture_output=True, text=True, check=False)
            expect(done.returncode == 0, "%s: %s", path, done.stdout + done.stderr)

    def verify_rest(self, *images):
        """Nothing else has changed, and only these images are there besides."""
        wanted = sorted(self.files + list(images))
        try:
            wait_until(lambda: sorted(self.daemon.image_names()) == wanted, "the files")
        except Exception:
            sys.stderr.write("the directory has %s, not %s\n" % (self.daemon.image_names(), wanted))
            raise
        for export in ("vda", "vda@frozen"):
            expect(self.read(export) == self.content, "%s has changed", export)
        expect(self.daemon.get_when_open("/devices/vda")["state"] == "online", "vda has failed")

    def remove(self, image):
        os.unlink(self.daemon.image(image))


class CopyErrors:
    def __init__(self, daemon, image_format, find_thread):
        daemon.start()
        self.daemon, self.find_thread = daemon, find_thread
        self.frozen = Frozen(daemon, image_format)
        self.refusals = self.failures = self.survivals = 0

    def step(self, step, *injections):
        """One copy; its trace."""
        image = "copy-%d" % step
        connection, thread = self.find_thread(self.daemon)
        answer = job = None
        with Strace(thread, *injections, output=os.path.join(self.daemon.directory, "strace")) as strace:
            answer = getattr(connection, "connection", connection).ask(*self.frozen.request(image))
            job = self.frozen.await_job(image) if answer.status == 202 else None
        connection.close()
        try:
            self.judge(image, answer, job or self.frozen.await_job(image))
            expect(strace.injected or answer.status == 202, "there was no fault")
            self.repeat(image)
        except Exception:
            sys.stderr.write("spoiled: %s %s\nanswer: %s\njob: %s\n" % (injections, strace.injected, answer, job))
            raise
        return strace

    def judge(self, image, answer, job):
        if job and job["state"] == "done":
            self.survivals += 1
            self.frozen.verify_image(image)
            self.frozen.verify_rest(image)
            self.frozen.remove(image)
            return
        self.refusals += not job
        self.failures += job is not None
        is_problem = answer.headers["Content-Type"] == "application/problem+json"
        expect(job["error"]["code"] if job else is_problem, "%s, %s", answer, job)
        self.frozen.verify_rest()

    def repeat(self, image):
        def ask():
            answer = self.daemon.request(*self.frozen.request(image + "-again"))
            expect(answer.status in (202, 503), "again: %s", answer)
            return answer.status == 202
        wait_until(ask, "the next call to be accepted")
        job = self.frozen.await_job(image + "-again")
        expect(job["state"] == "done", "again: %s", job)
        self.frozen.verify_image(image + "-again")
        self.frozen.remove(image + "-again")


def planned_by(daemon):
    """A fresh connection and the id of the thread that looks at the images for its requests."""
    answer = daemon.request("POST", "/snapshot-groups/frozen/copies?dry_run=true",
                            {"device": "vda", "image": "planned", "format": "raw"})
    expect(answer.status == 200, "a plan: %s", answer)
    named = threads_named(daemon.pid, "storage-calls")
    expect(len(named) == 1, "%d threads plan", len(named))
    return daemon.connection(), named[0]


def walk_errors(image_format, find_thread, error, stride):
    began = time.monotonic()
    with Daemon() as daemon:
        test = CopyErrors(daemon, image_format, find_thread)
        walk = Walk(lambda name: name in CALLS[error], stride)
        points = walk.inject(test.step, error)
    print("%s of a copy to %s, %s: %d faults at %d kinds of call in %.0f s: %d refused, %d failed, %d survived" % (
        error, image_format, find_thread.__name__, points, len(walk.names), time.monotonic() - began, test.refusals,
        test.failures, test.survivals), flush=True)
    return points


def copy_error_walks(stride, formats=("raw", "qcow2"), errors=tuple(CALLS)):
    for image_format in formats:
        for error in errors:
            points = [walk_errors(image_format, find_thread, error, stride) for find_thread in (served_by, planned_by, jobs_of)]
            expect(sum(points) > 0, "there were no faults")
