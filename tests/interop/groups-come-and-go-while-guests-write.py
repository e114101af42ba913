#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Groups of two devices are taken and deleted in random order, some jobs are cancelled and begun
# again, and the daemon is killed in between, while a client of each device writes, and reads what
# it wrote. In the end each device is the same as a flat reference, over NBD and for qemu-img by
# path, groups that are left read as when they were taken, no chain is longer than its groups
# and two, and no file is left over. SEED and ROUNDS change the course.
import os
import random
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, qcow2_check, run, wait_until

SEED = int(os.environ.get("SEED", "12"))
ROUNDS = int(os.environ.get("ROUNDS", "120"))
KILL_EACH = 24
GROUPS_MAX = 8
SIZE_BYTES = 4 << 20
SECTOR = 512
WRITE_SECTORS_MAX = 200
DEVICES = {"vda": "raw", "vdb": "qcow2"}


class Guest:
    """Writes to its device; `content` is what was acknowledged, `pending` the write that may or may
    not have been done."""

    def __init__(self, daemon, name):
        self.daemon = daemon
        self.name = name
        self.random = random.Random("%d %s" % (SEED, name))
        self.content = bytearray(SIZE_BYTES)
        self.pending = None
        self.written = 0
        self.failure = None

    def start(self):
        self.stopping = threading.Event()
        self.handle = self.daemon.nbd(self.name)
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        import nbd
        try:
            while not self.stopping.is_set():
                self.step()
        except nbd.Error as error:
            self.failure = error

    def step(self):
        length = self.random.randint(1, WRITE_SECTORS_MAX) * SECTOR
        offset = self.random.randrange((SIZE_BYTES - length) // SECTOR) * SECTOR
        is_zero = self.random.random() < 0.2
        data = bytes(length) if is_zero else self.random.randbytes(SECTOR) * (length // SECTOR)
        self.pending = offset, data
        if is_zero:
            self.handle.zero(length, offset)
        else:
            self.handle.pwrite(data, offset)
        self.content[offset:offset + length] = data
        self.pending = None
        self.written += 1
        offset = self.random.randrange(SIZE_BYTES - length)
        expected = bytes(self.content[offset // SECTOR * SECTOR:][:length])
        if bytes(self.handle.pread(length, offset // SECTOR * SECTOR)) != expected:
            raise AssertionError("%s reads what was not written" % self.name)

    def stop(self):
        """The daemon runs on."""
        self.stopping.set()
        self.thread.join()
        expect(self.failure is None and self.pending is None, "%s: %s", self.name, self.failure or "a read was wrong")
        self.handle.shutdown()

    def forget(self):
        """The daemon was killed."""
        self.thread.join()
        expect(self.failure, "%s: a read was wrong", self.name)
        self.failure = None

    def verify(self, what):
        """Of a write that may have been done, each sector was or was not."""
        handle = self.daemon.nbd(self.name)
        data = bytes(handle.pread(SIZE_BYTES, 0))
        handle.shutdown()
        if self.pending:
            offset, written = self.pending
            for place in range(0, len(written), SECTOR):
                sector = data[offset + place:][:SECTOR]
                if sector == written[place:place + SECTOR]:
                    self.content[offset + place:offset + place + SECTOR] = sector
            self.pending = None
        expect(data == bytes(self.content), "%s, %s: other content", self.name, what)


class Course:
    def __init__(self, daemon):
        self.daemon = daemon
        self.random = random.Random(SEED)
        self.guests = [Guest(daemon, name) for name in DEVICES]
        self.groups = {}  # hashes of the members, by name
        self.deleting = []
        self.number = 0

    def start_guests(self):
        for guest in self.guests:
            guest.start()

    def take(self):
        self.number += 1
        name = "g%d" % self.number
        body = {"name": name, "devices": [{"device": device} for device in DEVICES]}
        answer = self.daemon.request_when_free("POST", "/snapshot-groups", body)
        expect(answer.status == 201, "%s", answer)
        self.groups[name] = self.hashes(name)

    def hashes(self, name):
        return [self.daemon.content_hash("%s@%s" % (device, name)) for device in DEVICES]

    def delete(self, name):
        self.groups.pop(name, None)
        answer = self.daemon.request_when_free("DELETE", "/snapshot-groups/" + name)
        expect(answer.status == 202, "%s", answer)
        return answer.body["id"]

    def step(self):
        kind = self.random.random()
        if len(self.groups) < GROUPS_MAX and (kind < 0.5 or not self.groups):
            self.take()
            return
        name = self.random.choice(sorted(self.groups))
        expect(self.hashes(name) == self.groups[name], "%s has changed", name)
        job = self.delete(name)
        if kind > 0.85:
            answer = self.daemon.request("PATCH", "/jobs/" + job, {"state": "cancelled"})
            expect(answer.status == 200 or answer.body["code"] == "JobFinished", "%s", answer)
            if answer.status == 200:
                self.deleting.append(name)

    def kill(self):
        self.daemon.kill()
        for guest in self.guests:
            guest.forget()
        self.daemon.start()
        for guest in self.guests:
            guest.verify("after a kill")
        self.start_guests()

    def run(self):
        self.start_guests()
        for number in range(1, ROUNDS + 1):
            self.step()
            if number % KILL_EACH == 0:
                self.kill()
        for name in self.deleting:
            self.delete(name)
        self.await_jobs()
        for guest in self.guests:
            guest.stop()
        self.verify()

    def await_jobs(self):
        wait_until(lambda: not any(self.daemon.get("/jobs?state=" + state)["items"] for state in ("queued", "running")),
                   "all jobs to end")
        failed = self.daemon.get("/jobs?state=failed")["items"]
        expect(not failed, "%s", failed)

    def verify(self):
        files = set()
        for guest in self.guests:
            guest.verify("in the end")
            chain = self.daemon.chain(guest.name)
            expect(len(chain) <= len(self.groups) + 2, "%d groups, but %s", len(self.groups), chain)
            files |= set(chain)
        for name, hashes in self.groups.items():
            expect(self.hashes(name) == hashes, "%s has changed", name)
        names = {self.daemon.image(name) for name in self.daemon.image_names()}
        expect(names == files, "orphans %s, missing %s", names - files, files - names)
        tops = {guest.name: self.daemon.get("/devices/" + guest.name)["chain"][0] for guest in self.guests}
        self.daemon.stop()
        for guest in self.guests:
            self.compare(guest, tops[guest.name]["image"])
        for name in names:
            if name.endswith(".qcow2"):
                qcow2_check(name)
        self.daemon.start()

    def compare(self, guest, top):
        reference = os.path.join(self.daemon.directory, guest.name)
        with open(reference, "wb") as flat:
            flat.write(guest.content)
        image_format = "qcow2" if top.endswith(".qcow2") else "raw"
        run("qemu-img", "compare", "-f", "raw", "-F", image_format, reference, top)


def test():
    with Daemon() as daemon:
        daemon.start_with(DEVICES, SIZE_BYTES)
        course = Course(daemon)
        course.run()
        print("%d groups, %d left, %d writes" % (course.number, len(course.groups),
                                                 sum(guest.written for guest in course.guests)))


main(test)
