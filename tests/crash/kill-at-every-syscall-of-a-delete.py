#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# DELETE of a group killed at every call that changes something, of the thread that serves the
# request and of the one that runs the job: first of a group whose images have frozen ones above
# them, then of the newest, whose devices are cut first. After every kill each image is whole, and
# every chain, opened by path, gives what it gave. After every restart the job goes on by itself,
# or nothing had begun; then
#   - devices and the groups that are left read as before;
#   - the image directory has the files of the devices' chains and no others;
#   - the group is deleted, and nobody finds it by its name.
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from killwalk import kill_walk
from snapgroupd import Daemon, expect, main, qcow2_check, run, wait_until
from strace import CHANGES, threads_named

DEVICES = {"vda": "raw", "vdb": "qcow2"}
SIZE_BYTES = 512 << 10
PIECE_BYTES = 48 << 10  # shares clusters


class PatientConnection:
    """Its answer comes when the job has ended."""

    def __init__(self, connection):
        self.connection = connection

    def ask(self, method, path, body, **headers):
        answer = self.connection.ask(method, path, body, **headers)
        expect(answer.status == 202, "%s %s: %s", method, path, answer)
        wait_until(lambda: self.connection.ask("GET", answer.headers["Location"]).body["state"] not in
                   ("queued", "running"), "the job to end")
        return answer

    def close(self):
        self.connection.close()


def jobs_of(daemon):
    """A fresh connection and the id of the one thread that runs jobs."""
    named = threads_named(daemon.pid, "jobs")
    expect(len(named) == 1, "%d threads run jobs", len(named))
    return PatientConnection(daemon.connection()), named[0]


def read(daemon, export):
    handle = daemon.nbd(export)
    data = bytes(handle.pread(SIZE_BYTES, 0))
    handle.shutdown()
    return data


class Delete:
    """A group is taken before every step, and it, or the one before, is deleted."""

    def __init__(self, daemon, prefix, is_newest):
        self.daemon = daemon
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
        self.daemon.snapshot(name, list(DEVICES))
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

    def after_kill(self, kill):
        images = [self.daemon.image(name) for name in self.daemon.image_names()
                  if name.endswith(".qcow2") and not name.startswith(".")]
        for image in images:
            qcow2_check(image)
        backing = {json.loads(run("qemu-img", "info", "-U", "--output=json", image)).get("full-backing-filename")
                   for image in images}
        leaves = [image for image in images if image not in backing]
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
        wait_until(lambda: self.state() == "deleted", "the job to go on")
        answer = self.daemon.request("DELETE", "/snapshot-groups/" + self.name)
        expect((answer.status, answer.body["code"]) == (404, "GroupNotFound"), "again: %s", answer)
        for device in DEVICES:
            del self.known["%s@%s" % (device, self.name)]
        self.verify_content()
        self.verify_files()

    def state(self):
        for job in self.daemon.get("/jobs?limit=1")["items"]:
            expect(job["state"] in ("queued", "running", "done"), "%s", job)
        state = self.daemon.get("/snapshot-groups/" + self.id)["state"]
        expect(state in ("committed", "deleting", "deleted"), "the group is %s", state)
        return state

    def verify_content(self):
        for export, content in self.known.items():
            if export in DEVICES or not export.endswith("@" + self.name):
                expect(read(self.daemon, export) == content, "%s has changed", export)

    def verify_files(self):
        files = set()
        groups = (len(self.known) - len(DEVICES)) // len(DEVICES)
        for device in DEVICES:
            chain = [os.path.relpath(image["image"], self.daemon.images)
                     for image in self.daemon.get("/devices/" + device)["chain"]]
            expect(len(chain) <= groups + 2, "%s with %d groups has %s", device, groups, chain)
            files |= set(chain)
        names = set(self.daemon.image_names())
        expect(names == files, "orphans %s, missing %s", sorted(names - files), sorted(files - names))
        for name in names:
            if name.endswith(".qcow2"):
                qcow2_check(self.daemon.image(name))


def kill_deletes(prefix, is_newest):
    with Daemon() as daemon:
        daemon.start()
        for device, image_format in DEVICES.items():
            daemon.create_device(device, image_format, SIZE_BYTES)
        delete = Delete(daemon, prefix, is_newest)
        steps = kill_walk(daemon, 202, delete, is_wanted=CHANGES.__contains__)
        kill_walk(daemon, 202, delete, jobs_of, steps, is_wanted=CHANGES.__contains__)


def test():
    kill_deletes("older", False)
    kill_deletes("newest", True)


main(test)
