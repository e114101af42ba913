#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A copy of a frozen member killed at every call that changes something, of the thread that serves
# the request and of the one that runs the job. After every kill the image has its name only if it
# is whole. After every restart the copy is made by itself, or had not begun and is made when it is
# requested again; then
#   - the image is what the group froze, and qemu-img finds no error and no leak;
#   - the image directory has nothing else but the files of the device;
#   - the device and the frozen member read as before.
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from killwalk import jobs_of, kill_walk
from snapgroupd import Daemon, expect, main, run, wait_until
from strace import CHANGES, served_by

SIZE_BYTES = 512 << 10
FROZEN = "/snapshot-groups/frozen"
WALKS = [("raw", served_by), ("qcow2", jobs_of)]  # the request is the same, and raw has fewer calls
if "COPY_WALKS" in os.environ:
    WALKS += [("qcow2", served_by), ("raw", jobs_of)]


def read(daemon, export):
    handle = daemon.nbd(export)
    data = bytes(handle.pread(SIZE_BYTES, 0))
    handle.shutdown()
    return data


class Copy:
    def __init__(self, daemon, image_format):
        self.daemon = daemon
        self.format = image_format
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        handle = daemon.nbd("vda")
        handle.pwrite(b"\x55" * 200000 + b"\x66" * (480 << 8), 4096 * 3 - 512)
        handle.shutdown()
        self.content = read(daemon, "vda")
        daemon.snapshot("frozen", ["vda"])
        self.files = sorted(daemon.image_names())
        self.reference = os.path.join(daemon.directory, "content")
        with open(self.reference, "wb") as data:
            data.write(self.content)

    def before(self, step):
        self.image = "copy-%d.%s" % (step, self.format)

    def request(self, step):
        return "POST", FROZEN + "/copies", {"device": "vda", "image": self.image, "format": self.format}

    def after_kill(self, kill):
        if os.path.exists(self.daemon.image(self.image)):
            self.verify_image()

    def verify_image(self):
        path = self.daemon.image(self.image)
        run("qemu-img", "compare", "-f", "raw", "-F", self.format, self.reference, path)
        if self.format == "qcow2":
            done = subprocess.run(["qemu-img", "check", path], capture_output=True, text=True, check=False)
            expect(done.returncode == 0, "%s: %s", path, done.stdout + done.stderr)

    def job(self):
        jobs = [job for job in self.daemon.get("/jobs?limit=1")["items"] if job["image"] == self.daemon.image(self.image)]
        return jobs[0] if jobs else None

    def after_restart(self, kill):
        if not self.job():  # it had not begun, and can begin
            expect(not kill.answer, "the client was told %s, there is no job", kill.answer)
            expect(sorted(self.daemon.image_names()) == self.files, "%s is left", self.daemon.image_names())
            answer = self.daemon.request(*self.request(kill.step))
            expect(answer.status == 202, "%s", answer)
        wait_until(lambda: self.job()["state"] not in ("queued", "running"), "the copy to end")
        expect(self.job()["state"] == "done", "%s", self.job())
        self.verify_image()
        names = sorted(set(self.daemon.image_names()) - {self.image})
        expect(names == self.files, "the directory has %s, not %s", names, self.files)
        os.unlink(self.daemon.image(self.image))
        for export in ("vda", "vda@frozen"):
            expect(read(self.daemon, export) == self.content, "%s has changed", export)


def test():
    for image_format, find_thread in WALKS:
        with Daemon() as daemon:
            daemon.start()
            kill_walk(daemon, 202, Copy(daemon, image_format), find_thread, is_wanted=CHANGES.__contains__)


main(test)
