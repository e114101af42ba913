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
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from copywalk import Frozen
from killwalk import jobs_of, kill_walk
from snapgroupd import Daemon, expect, main
from strace import served_by

WALKS = [("raw", served_by), ("qcow2", jobs_of)]  # the request is the same, and raw has fewer calls
if "COPY_WALKS" in os.environ:
    WALKS += [("qcow2", served_by), ("raw", jobs_of)]


class Copy:
    def __init__(self, daemon, image_format):
        self.daemon = daemon
        self.frozen = Frozen(daemon, image_format)

    def before(self, step):
        self.image = "copy-%d" % step

    def request(self, step):
        return self.frozen.request(self.image)

    def after_kill(self, kill):
        if os.path.exists(self.daemon.image(self.image)):
            self.frozen.verify_image(self.image)

    def after_restart(self, kill):
        if not self.frozen.job(self.image):  # it had not begun, and can begin
            expect(not kill.answer, "the client was told %s, there is no job", kill.answer)
            self.frozen.verify_rest()
            answer = self.daemon.request(*self.request(kill.step))
            expect(answer.status == 202, "%s", answer)
        job = self.frozen.await_job(self.image)
        expect(job["state"] == "done", "%s", job)
        self.frozen.verify_image(self.image)
        self.frozen.verify_rest(self.image)
        self.frozen.remove(self.image)


def test():
    for image_format, find_thread in WALKS:
        with Daemon() as daemon:
            daemon.start()
            kill_walk(daemon, 202, Copy(daemon, image_format), find_thread)


main(test)
