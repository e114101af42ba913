#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Up to eight groups of two disks, raw and qcow2, are taken and deleted in random order, while fio
# writes each disk and verifies what it wrote. fio sees no error and no mismatch, every group reads
# as when it was taken, no chain is longer than the groups and two, and no file is left over.
# SECONDS=600 is the full run; SEED changes the order.
import os
import random
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import EXCHANGES, Daemon, expect, main, qcow2_check, wait_until

SECONDS = float(os.environ.get("SECONDS", "5"))
SEED = os.environ.get("SEED", "8")
GROUPS_MAX = 8
SIZE_BYTES = 4 << 20
DEVICES = {"vda": ("raw", "512"), "vdb": ("qcow2", "4k")}  # with the block size of its fio
EXCHANGES_MAX = 2000


class Writer:
    """fio, again and again, until `stop` is set."""

    def __init__(self, daemon, name, block_size):
        self.daemon, self.name = daemon, name
        self.log = os.path.join(daemon.directory, "fio." + name)
        self.command = ["fio", "--name=" + name, "--ioengine=nbd", "--uri=" + daemon.nbd_uri(name), "--rw=randwrite",
                        "--iodepth=4", "--bs=" + block_size, "--size=%d" % SIZE_BYTES, "--verify=crc32c",
                        "--verify_fatal=1", "--verify_state_save=0", "--randrepeat=0", "--fsync=64"]
        self.passes = 0
        self.process = None

    def start(self):
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL"] + self.command, stdout=log, stderr=log,
                                            cwd=self.daemon.directory)

    def look(self):
        """Once a pass is over the next one begins."""
        if self.process.poll() is None:
            return
        self.end()
        self.start()

    def end(self):
        status = self.process.wait()
        with open(self.log) as log:
            text = log.read()
        expect(status == 0 and "err= 0" in text and "verify" not in text, "fio of %s ends with %d: %s", self.name, status, text)
        self.passes += 1


class Course:
    def __init__(self, daemon):
        self.daemon = daemon
        self.random = random.Random(SEED)
        self.writers = [Writer(daemon, name, block_size) for name, (_, block_size) in DEVICES.items()]
        self.groups, self.jobs = {}, []
        self.taken, self.longest = 0, 0

    def ask(self, method, path, body=None):
        del EXCHANGES[EXCHANGES_MAX:]
        return self.daemon.request_when_free(method, path, body)

    def hashes(self, name):
        return [self.daemon.content_hash("%s@%s" % (device, name)) for device in DEVICES]

    def take(self):
        self.taken += 1
        name = "g%d" % self.taken
        answer = self.ask("POST", "/snapshot-groups", {"name": name, "devices": [{"device": device} for device in DEVICES]})
        expect(answer.status == 201, "%s", answer)
        self.groups[name] = self.hashes(name)

    def delete(self):
        name = self.random.choice(sorted(self.groups))
        expect(self.hashes(name) == self.groups.pop(name), "%s has changed", name)
        answer = self.ask("DELETE", "/snapshot-groups/" + name)
        expect(answer.status == 202, "%s", answer)
        self.jobs.append("/jobs/" + answer.body["id"])

    def await_jobs(self):
        for job in self.jobs:
            wait_until(lambda: self.daemon.get(job)["state"] not in ("queued", "running"), "the job to end")
            expect(self.daemon.get(job)["state"] == "done", "%s", self.daemon.get(job))
        self.jobs.clear()

    def verify(self):
        """While fio goes on."""
        self.await_jobs()
        files = set()
        for device in DEVICES:
            chain = self.daemon.chain(device)
            expect(len(chain) <= len(self.groups) + 2, "%d groups, but %s", len(self.groups), chain)
            self.longest = max(self.longest, len(chain))
            files |= set(chain)
        names = {self.daemon.image(name) for name in self.daemon.image_names()}
        expect(names == files, "stray %s, missing %s", names - files, files - names)
        for name, hashes in self.groups.items():
            expect(self.hashes(name) == hashes, "%s has changed", name)

    def step(self):
        is_full = len(self.groups) == GROUPS_MAX
        if not is_full and (not self.groups or self.random.random() < 0.55):
            self.take()
        else:
            self.delete()
        if self.random.random() < 0.1:
            self.verify()
        for writer in self.writers:
            writer.look()

    def run(self):
        for writer in self.writers:
            writer.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            self.step()
        for writer in self.writers:
            writer.end()
        self.verify()


def test():
    with Daemon() as daemon:
        daemon.start()
        for name, (image_format, _) in DEVICES.items():
            daemon.create_device(name, image_format, SIZE_BYTES)
        course = Course(daemon)
        course.run()
        print("%d groups taken, %d left, chains of up to %d; %s passes of fio" %
              (course.taken, len(course.groups), course.longest, [writer.passes for writer in course.writers]))
        daemon.stop()
        for name in daemon.image_names():
            if name.endswith(".qcow2"):
                qcow2_check(daemon.image(name))
        daemon.start()


main(test)
