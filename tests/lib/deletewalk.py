# SPDX-License-Identifier: Apache-2.0
"""Two disks of which a group is taken before every step, and it, or the one before, is deleted in
the step. Everything that can be read of them is known, and is compared to the byte, by path with
the daemon down and over NBD when it is up. As a test of kill_walk(), and in joberrors.py.
"""
import json
import os

from snapgroupd import expect, qcow2_check, run, wait_until

DEVICES = {"vda": "raw", "vdb": "qcow2"}
SIZE_BYTES = 512 << 10
PIECE_BYTES = 48 << 10  # shares clusters


def read(daemon, export):
    handle = daemon.nbd(export)
    data = bytes(handle.pread(SIZE_BYTES, 0))
    handle.shutdown()
    return data


class Delete:
    """A group is taken before every step, and it, or the one before, is deleted. `others`: devices
    that are in the groups, too; somebody else knows what they hold."""

    def __init__(self, daemon, prefix, is_newest, others=()):
        self.daemon = daemon
        self.devices = [*DEVICES, *others]
        self.prefix = prefix
        self.is_newest = is_newest
        self.taken = 0
        self.known = {}  # content by export
        self.take()

    def take(self):
        for number, device in enumerate(DEVICES):
            handle = self.daemon.nbd(device)
            for piece in range(2):
                position = (self.taken * 5 + number + piece * 3) * PIECE_BYTES * 2 // 3
                offset = position // 512 * 512 % (SIZE_BYTES - PIECE_BYTES)
                handle.pwrite(bytes([1 + self.taken % 250]) * PIECE_BYTES, offset)
            handle.zero(4096, self.taken * 4096 % SIZE_BYTES)
            handle.flush()
            handle.shutdown()
        name = "%s%d" % (self.prefix, self.taken)
        self.daemon.snapshot(name, self.devices)
        self.taken += 1
        for device in DEVICES:
            self.known["%s@%s" % (device, name)] = self.known[device] = read(self.daemon, device)

    def before(self, step):
        self.take()
        self.name = "%s%d" % (self.prefix, self.taken - (1 if self.is_newest else 2))
        self.id = self.daemon.get("/snapshot-groups/" + self.name)["id"]

    def request(self, step):
        return "DELETE", "/snapshot-groups/" + self.name, None

    # ---- with the daemon down ----

    def leaves(self):
        images = [self.daemon.image(name) for name in self.daemon.image_names()
                  if name.endswith(".qcow2") and not name.startswith(".")]
        for image in images:
            qcow2_check(image)
        backing = {json.loads(run("qemu-img", "info", "-U", "--output=json", image)).get("full-backing-filename")
                   for image in images}
        return [image for image in images if image not in backing]

    def after_kill(self, kill):
        leaves = self.leaves()
        found = {self.content_by_path(leaf) for leaf in leaves}
        expect(found <= set(self.known.values()), "a chain gives what nobody gave: %s", leaves)
        for device in DEVICES:
            expect(self.known[device] in found, "no chain gives what %s gave", device)

    def content_by_path(self, image):
        raw = os.path.join(self.daemon.directory, "raw")
        run("qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", image, raw)
        with open(raw, "rb") as data:
            return data.read()

    # ---- after the restart ----

    def after_restart(self, kill):
        self.verify_content()
        state = self.state()
        if state == "committed":  # before it had begun; and it can begin again
            expect(not kill.answer, "the client was told %s, the group is committed", kill.answer)
            answer = self.daemon.request("DELETE", "/snapshot-groups/" + self.name)
            expect(answer.status == 202, "%s", answer)
        self.await_deleted()
        answer = self.daemon.request("DELETE", "/snapshot-groups/" + self.name)
        expect((answer.status, answer.body["code"]) == (404, "GroupNotFound"), "again: %s", answer)
        self.forget()
        self.verify_content()
        self.verify_files()

    def await_deleted(self):
        wait_until(lambda: self.state() == "deleted", "the job to go on")

    def forget(self):
        """The group is deleted."""
        for device in DEVICES:
            del self.known["%s@%s" % (device, self.name)]

    def state(self):
        for job in self.daemon.get("/jobs?limit=1")["items"]:
            expect(job["state"] in ("queued", "running", "done"), "%s", job)
        state = self.daemon.get("/snapshot-groups/" + self.id)["state"]
        expect(state in ("committed", "deleting", "deleted"), "the group is %s", state)
        return state

    def verify_content(self):
        for export in self.known:
            if export in DEVICES or not export.endswith("@" + self.name):
                self.verify_export(export)

    def verify_export(self, export):
        expect(read(self.daemon, export) == self.known[export], "%s has changed", export)

    def verify_files(self):
        files = set()
        groups = (len(self.known) - len(DEVICES)) // len(DEVICES)
        for device in self.devices:
            chain = [os.path.relpath(image["image"], self.daemon.images)
                     for image in self.daemon.get("/devices/" + device)["chain"]]
            expect(len(chain) <= groups + 2, "%s with %d groups has %s", device, groups, chain)
            files |= set(chain)
        names = set(self.daemon.image_names())
        expect(names == files, "orphans %s, missing %s", sorted(names - files), sorted(files - names))
        for name in names:
            if name.endswith(".qcow2"):
                qcow2_check(self.daemon.image(name))
