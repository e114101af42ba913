#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 7200
#
# Images on an ext4, an xfs and a btrfs of their own in turn, and the state on another one of that
# kind. Clients write, zero and flush; groups are taken; and the images' file system is filled and
# emptied at random moments. KILLS times (default 6) the daemon is killed at a random moment. Before
# every other restart the images' file system goes away: the daemon starts without it, shows its
# devices as failed, and has them back, by itself or after another kill, when the file system is
# mounted again from another block device. Every time
#   - qemu-img finds no error, before the restart and after it;
#   - every block is what its client was last told it is, flushed or not; after a write that was
#     refused for want of space, or one under way, what it was or what it was to be;
#   - no client was told anything but that there is no space, and no group was refused for another
#     reason.
# A flush is refused nothing, except where the file system copies what is overwritten (btrfs), and
# there it succeeds when there is space again.
import array
import errno
import glob
import os
import random
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import KINDS, FileSystem, own_mounts
from snapgroupd import Daemon, expect, main, qcow2_check, wait_until

KILLS = int(os.environ.get("KILLS", "6"))
SEED = int(os.environ.get("SEED", "20261"))
# Then everything starts afresh, on the next kind.
KILLS_OF_A_KIND = max(2, min(8, KILLS // len(KINDS)))
SIZE_BYTES = 16 << 20
BLOCK_BYTES = 4096
BLOCKS = SIZE_BYTES // BLOCK_BYTES
WRITERS = 2  # of each disk
MOMENT_S = 0.5  # a kill comes within so many seconds
FREE_BYTES = 6 << 20  # most that is free while the file system is full
DISKS = {"vda": {"format": "qcow2"}, "vdb": {"format": "qcow2", "cluster_size_bytes": 512, "extended_l2": False},
         "vdc": {"format": "qcow2", "cluster_size_bytes": 2 << 20, "extended_l2": False}, "vdd": {"format": "raw"}}


def content(number):
    return array.array("Q", [number]).tobytes() * (BLOCK_BYTES // 8)


class Client(threading.Thread):
    """Has every WRITERS-th block to itself. told[block]: the numbers that each of its words may
    be."""

    def __init__(self, test, name, position, seed):
        super().__init__(daemon=True)
        self.test, self.name, self.position = test, name, position
        self.told = test.told[name]
        self.handle = test.daemon.nbd(name)
        self.random = random.Random(seed)
        self.requests = self.refusals = self.late_refusals = 0
        self.error = None

    def run(self):
        import nbd
        try:
            while True:
                self.request(nbd)
        except nbd.Error as error:
            if not (self.handle.aio_is_dead() or self.handle.aio_is_closed()):
                self.error = error
            self.handle = None

    def request(self, nbd):
        draw = self.random.random()
        block = self.random.randrange(BLOCKS // WRITERS) * WRITERS + self.position
        number = 0 if draw < 0.1 else self.test.next_number()
        try:
            if draw < 0.02:
                block = None
                self.handle.flush()
                return
            self.told[block] = self.told[block] | {number}
            if number:
                self.handle.pwrite(content(number), block * BLOCK_BYTES)
            else:
                self.handle.zero(BLOCK_BYTES, block * BLOCK_BYTES, nbd.CMD_FLAG_NO_HOLE if draw < 0.05 else 0)
            self.told[block] = {number}
            self.requests += 1
        except nbd.Error as error:
            if error.errnum != errno.ENOSPC:
                raise
            self.refusals += 1
            self.late_refusals += block is None


class Repeated(threading.Thread):
    """step() again and again, until the daemon is gone or end()."""

    def __init__(self, step):
        super().__init__(daemon=True)
        self.step, self.ending, self.error = step, threading.Event(), None

    def run(self):
        try:
            while not self.ending.is_set():
                self.step()
        except Exception as error:
            self.error = error

    def end(self):
        self.ending.set()
        self.join()


class Test:
    def __init__(self, daemon, disk, kind, source):
        self.daemon, self.disk, self.kind, self.source = daemon, disk, kind, source
        self.told = {name: [{0}] * BLOCKS for name in DISKS}
        self.lock = threading.Lock()
        self.number = self.groups = 0
        self.count = {"requests": 0, "refusals": 0, "flush refusals": 0, "groups": 0, "groups refused": 0, "absences": 0,
                      "waits for room": 0}
        daemon.start()
        for name, shape in DISKS.items():
            image = {**shape, "image": "disk/%s.%s" % (name, shape["format"])}
            answer = daemon.request("POST", "/devices", {"name": name, "size_bytes": SIZE_BYTES, **image})
            expect(answer.status == 201, "POST /devices: %s", answer)

    def next_number(self):
        with self.lock:
            self.number += 1
            return self.number

    def fill_or_empty(self):
        self.disk.leave(self.source.choice([None, self.source.randrange(FREE_BYTES)]))
        time.sleep(self.source.random() * 0.05)  # how long it stays so is drawn; nothing is awaited

    def take_group(self):
        self.groups += 1
        name = "g%d" % self.groups
        members = [{"device": device, "snapshot_file": "disk/%s+%s.qcow2" % (device, name)} for device in DISKS]
        answer = self.daemon.request("POST", "/snapshot-groups", {"name": name, "devices": members})
        expect(answer.status in (201, 507), "a group: %s", answer)
        self.count["groups"] += answer.status == 201
        self.count["groups refused"] += answer.status == 507
        time.sleep(0.1)  # so that chains stay short

    def work_and_kill(self):
        clients = [Client(self, name, position, self.source.random())
                   for name in DISKS for position in range(WRITERS)]
        filler, groups = Repeated(self.fill_or_empty), Repeated(self.take_group)
        for thread in clients + [filler, groups]:
            thread.start()
        time.sleep(self.source.random() * MOMENT_S)  # the test draws the moment; nothing is awaited
        failed = [device["name"] for device in self.daemon.list("/devices") if device["state"] != "online"]
        self.daemon.kill()
        for thread in clients:
            thread.join()
        filler.end()
        groups.end()
        expect(not failed, "devices failed: %s", failed)
        for client in clients:
            expect(client.error is None, "%s: a client was told: %s", client.name, client.error)
            self.count["requests"] += client.requests
            self.count["refusals"] += client.refusals
            self.count["flush refusals"] += client.late_refusals
        expect(self.kind == "btrfs" or not self.count["flush refusals"], "flushes were refused")
        expect(filler.error is None, "filling: %s", filler.error)
        # An answer that was cut short by the kill is no verdict.
        expect(not groups.error or "a group:" not in str(groups.error), "%s", groups.error)
        self.check_images()
        if self.source.random() < 0.7:
            self.disk.leave(None)

    def check_images(self):
        names = sorted(glob.glob(self.disk.mountpoint + "/*.qcow2"), key=lambda path: os.stat(path).st_mtime)
        for path in names[-2 * len(DISKS):]:
            qcow2_check(path)

    def start_without_storage(self):
        self.count["absences"] += 1
        self.disk.away()
        self.daemon.start()
        for device in self.daemon.list("/devices"):
            expect(device["state"] == "failed", "its image is away: %s", device)
        if self.source.random() < 0.5:
            self.daemon.kill()
            self.disk.back()
            self.daemon.start()
        else:
            self.disk.back()

    def await_devices(self):
        """What is replayed may need room for a table that had none in the file yet: then the device
        waits for it."""
        failed = lambda: [device for device in self.daemon.list("/devices") if device["state"] != "online"]
        wait_until(lambda: all("No space left" in device["reason"] for device in failed()), "the devices to come back")
        if failed():
            self.count["waits for room"] += 1
            self.disk.leave(None)
        wait_until(lambda: not failed(), "the devices to have room")

    def step(self, kill):
        self.work_and_kill()
        if kill % 2:
            self.start_without_storage()
        else:
            self.daemon.start()
        self.await_devices()
        for name in DISKS:
            self.verify(name)
        self.check_images()

    def verify(self, name):
        handle = self.daemon.nbd(name)
        there = array.array("Q", bytes(handle.pread(SIZE_BYTES, 0)))
        handle.shutdown()
        words = BLOCK_BYTES // 8
        for block, allowed in enumerate(self.told[name]):
            found = set(there[block * words:(block + 1) * words])
            expect(found <= allowed, "%s, block %d: holds %s, allowed are %s", name, block, sorted(found)[:4],
                   sorted(allowed)[:4])

    def end(self):
        self.disk.leave(None)
        self.daemon.stop()
        left = os.listdir(os.path.join(self.daemon.runtime, "journals"))
        expect(not left, "SIGTERM leaves journals: %s", left)
        self.check_images()


def round_of(kind, first, source):
    """Up to KILLS_OF_A_KIND kills, from number `first` on."""
    with Daemon() as daemon, \
            FileSystem(kind, daemon.directory, daemon.image("disk")) as disk, \
            FileSystem(kind, daemon.directory, daemon.state):
        os.mkdir(os.path.join(daemon.state, "s"))
        daemon.state = os.path.join(daemon.state, "s")
        try:
            test = Test(daemon, disk, kind, source)
            for kill in range(first, min(first + KILLS_OF_A_KIND, KILLS)):
                test.step(kill)
            test.end()
        finally:
            if daemon.process:
                daemon.kill()
        print("%s: %s" % (kind, test.count), flush=True)


def test():
    source = random.Random(SEED)
    for number, first in enumerate(range(0, KILLS, KILLS_OF_A_KIND)):
        round_of(KINDS[number % len(KINDS)], first, source)


own_mounts()
main(test)
