#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# PATCH of a disk's size and labels, under a client that writes and flushes, killed at every call
# that changes something: of the thread that serves the request, for a raw disk, and of the one that
# runs its group, for a qcow2 one. After every kill qemu-img finds no error in any image; after
# every restart
#   - the disk has its old size, or the new one; the new one if the client got a 200, and if the
#     labels are the new ones;
#   - its chain has one image more if it grew, and the image directory has no other file;
#   - every acknowledged number is there, what is past the old end is zeros, and can be written;
#   - one event tells of each growth, no group is left, and the call repeated succeeds.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from killwalk import kill_walk
from snapgroupd import Daemon, expect, main, qcow2_check, wait_until
from strace import run_by, served_by
from writers import Disk, start_writers, stop_writers

SIZE_BYTES = 1 << 20
GROWTH_BYTES = 70 << 10
IMAGES_MAX = 12  # in a chain; then everything starts afresh


class Resize:
    def __init__(self, daemon, image_format):
        self.daemon, self.format = daemon, image_format
        self.begin_afresh()

    def begin_afresh(self):
        self.daemon.start()
        self.disk = Disk("vda", SIZE_BYTES)
        self.size_bytes = SIZE_BYTES
        self.daemon.create_device("vda", self.format, SIZE_BYTES)
        self.files = ["vda." + self.format]
        self.label = None

    def end(self):
        self.daemon.stop()
        self.daemon.wipe()

    def before(self, step):
        if len(self.files) > IMAGES_MAX:
            self.end()
            self.begin_afresh()
        self.writers = start_writers(self.daemon, [self.disk])
        self.body = {"size_bytes": self.size_bytes + GROWTH_BYTES, "labels": {"step": str(step)}}

    def request(self, step):
        return "PATCH", "/devices/vda", self.body

    def after_kill(self, kill):
        stop_writers(self.writers)
        for name in self.daemon.image_names():
            # A staged image need not be whole.
            if name.endswith(".qcow2") and not name.startswith("."):
                qcow2_check(self.daemon.image(name))

    def after_restart(self, kill):
        device = self.verify(kill.answer)
        if device["size_bytes"] == self.size_bytes:
            label = device["labels"].get("step")
            expect(label == self.label, "the labels were changed, the size was not: %s", device)
        answer = self.daemon.request("PATCH", "/devices/vda", self.body)
        expect(answer.status == 200 and answer.body["labels"] == self.body["labels"], "repeated: %s", answer)
        self.label = self.body["labels"]["step"]
        self.size_bytes += GROWTH_BYTES
        self.verify(answer)
        self.files = [os.path.basename(image["image"]) for image in answer.body["chain"]]

    def verify(self, answer):
        device = self.daemon.get("/devices/vda")
        grown = device["size_bytes"] - self.size_bytes
        expect(device["state"] == "online" and grown in (0, GROWTH_BYTES), "%s", device)
        expect(not answer or device["size_bytes"] == self.body["size_bytes"], "%s, told %s", device, answer)
        chain = [os.path.basename(image["image"]) for image in device["chain"]]
        is_chain = chain[1:] == self.files if grown else len(chain) - len(self.files) in (0, 1)
        expect(is_chain, "%s: %s", self.files, chain)
        expect(self.daemon.image_names() == sorted(chain), "%s, files: %s", chain, self.daemon.image_names())
        events = self.daemon.get("/events?kind=device.resized&limit=1000")["items"]
        expect(len(events) == len(chain) - 1, "%d images, events %s", len(chain), events)
        states = {group["state"] for group in self.daemon.list("/snapshot-groups")}
        expect(not states, "groups are left: %s", states)
        self.disk.verify_device(self.daemon)
        self.verify_end(device["size_bytes"])
        return device

    def verify_end(self, size_bytes):
        handle = self.daemon.nbd("vda")
        expect(handle.get_size() == size_bytes, "the export has %d bytes", handle.get_size())
        length = size_bytes - self.size_bytes
        expect(not length or handle.pread(length, self.size_bytes) == bytes(length), "old data past the old end")
        handle.zero(512, size_bytes - 512)
        handle.flush()
        handle.shutdown()
        wait_until(lambda: not self.daemon.get("/devices/vda")["clients"], "the client to leave")


def test():
    for image_format, find_thread in (("raw", served_by), ("qcow2", run_by)):
        with Daemon() as daemon:
            resize = Resize(daemon, image_format)
            kill_walk(daemon, 200, resize, find_thread)
            resize.end()


main(test)
