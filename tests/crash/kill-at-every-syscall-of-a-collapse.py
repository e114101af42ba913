#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: once
#
# DELETE of the only group, killed at every call that changes something, of the thread that runs the
# job: the devices are cut, what was frozen is merged, and then their live tops are, so that each of
# them is the one file that was attached. After every kill each image is whole, and every chain,
# opened by path, gives what it gave. After every restart the job goes on by itself; then the
# devices read as before and are written, and the image directory has their files and no others.
import os
import sys

os.environ.setdefault("CRASH_STRIDE", "5")  # 1: every call
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from deletewalk import DEVICES, SIZE_BYTES, Delete, read
from killwalk import jobs_of, kill_walk
from snapgroupd import Daemon, expect, main, run


class Collapse(Delete):
    def __init__(self, daemon):
        super().__init__(daemon, "only", True)
        self.name = "only0"
        daemon.request("DELETE", "/snapshot-groups/only0")
        self.id = daemon.get("/jobs?limit=1")["items"][0]["group"]
        self.after_restart(None)

    def content_by_path(self, image):
        raw = os.path.join(self.daemon.directory, "raw")
        run("qemu-img", "convert", "-U", "-f", "raw" if image.endswith(".raw") else "qcow2", "-O", "raw", image, raw)
        with open(raw, "rb") as data:
            return data.read()

    def leaves(self):
        names = super().leaves()
        has_overlay = any(name.endswith(".qcow2") and os.path.basename(name).startswith("vda") for name in names)
        return names if has_overlay else [*names, self.daemon.image("vda.raw")]

    def after_restart(self, kill):
        if kill:
            super().after_restart(kill)
        else:
            self.await_deleted()
            self.forget()
        for device, image_format in DEVICES.items():
            chain = self.daemon.chain(device)
            expect(chain == [self.daemon.image("%s.%s" % (device, image_format))], "%s", chain)
            expect(read(self.daemon, device) == self.known[device], "%s", device)


def test():
    with Daemon() as daemon:
        daemon.start_with(DEVICES, SIZE_BYTES)
        kill_walk(daemon, 202, Collapse(daemon), jobs_of)


main(test)
