#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: once
#
# Hourly snapshots of eight devices, of which the newest of the last 24 hours, 7 days and 12 months
# are kept, all others deleted, as a policy would. The clock is simulated: a name is an hour, and
# nothing sleeps. Each hour some blocks of each device are written, zeroed or discarded. Chains stay
# as short as what is kept; every snapshot that is kept, and every device, reads as a flat model;
# each file holds what it must and no more: the blocks that changed between the snapshots around it,
# and metadata. Three days; HOURS=8760 is the year.
import os
import random
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from runtimes import use_memory
from snapgroupd import EXCHANGES, Daemon, expect, is_sanitized, main, wait_until

HOURS = int(os.environ.get("HOURS", "30" if is_sanitized() else "72"))
SEED = os.environ.get("SEED", "1")
VERIFIED_EACH = 168
DEVICES = ["vd" + letter for letter in "abcdefgh"]
BLOCK = 4096
BLOCKS = 64
SIZE_BYTES = BLOCK * BLOCKS
HOURLY, DAILY, MONTHLY = 24, 7, 12
DAY, MONTH = 24, 730  # in hours
METADATA_BYTES = 24 << 10  # of an image of this size: header, two tables of each kind, what is free
EXCHANGES_MAX = 2000


def kept_hours(now):
    """Of those up to `now`: the newest of each of the last hours, days and months."""
    kept = set(range(max(now - HOURLY + 1, 0), now + 1))
    for unit, count in ((DAY, DAILY), (MONTH, MONTHLY)):
        newest = {}
        for hour in range(now + 1):
            newest[hour // unit] = hour
        kept |= {newest[period] for period in sorted(newest)[-count:]}
    return kept


class Disk:
    """`blocks`: the number that each block is full of; `views`: those that were frozen, by hour;
    `written`: the blocks that were changed between a snapshot and the one before, by hour."""

    def __init__(self, daemon, name):
        self.daemon, self.name = daemon, name
        self.random = random.Random("%s %s" % (SEED, name))
        self.blocks = [0] * BLOCKS
        self.changed = set()
        self.views, self.written = {}, {}
        self.handle = None
        self.number = 0

    def write(self):
        if not self.handle:
            self.handle = self.daemon.nbd(self.name)
        for _ in range(self.random.choice((0, 1, 2, 4))):
            block = min(int(self.random.expovariate(1 / 12)), BLOCKS - 1)  # some are hot
            self.number = self.number % 255 + 1
            value = self.number if self.random.random() < 0.8 else 0
            if value:
                self.handle.pwrite(bytes([value]) * BLOCK, block * BLOCK)
            else:
                self.handle.zero(BLOCK, block * BLOCK)
            self.blocks[block] = value
            self.changed.add(block)

    def freeze(self, hour):
        self.views[hour] = list(self.blocks)
        self.written[hour], self.changed = self.changed, set()

    def drop(self, hour):
        """What it had changed belongs to the next one that is kept, or to what is written now."""
        del self.views[hour]
        later = min((other for other in self.written if other > hour), default=None)
        changed = self.written.pop(hour)
        if later is None:
            self.changed |= changed
        else:
            self.written[later] |= changed

    def verify(self, export, blocks):
        handle = self.daemon.nbd(export)
        data = bytes(handle.pread(SIZE_BYTES, 0))
        handle.shutdown()
        found = [data[at] if data[at:at + BLOCK] == data[at:at + 1] * BLOCK else None for at in range(0, SIZE_BYTES, BLOCK)]
        expect(found == blocks, "%s: %s, not %s", export, found, blocks)

    def verify_space(self, chain):
        """The image of each hour, from the oldest on; then one that a job may have left, and the
        top. An image has the data of the blocks that were changed since the one below, and no
        others."""
        hours = sorted(self.views)
        expect(len(chain) <= len(hours) + 2, "%s: %d snapshots, chain %s", self.name, len(hours), chain)
        images = list(reversed(chain))
        for position, hour in enumerate(hours[1:], 1):
            data = sum(self.views[hour][block] != 0 for block in self.written[hour])
            found = images[position]["allocated_bytes"]
            expect(found <= data * BLOCK + METADATA_BYTES + BLOCK * len(self.written[hour]) // 16, "%s of %s: %d bytes, %d blocks of data",
                   images[position]["image"], hour, found, data)
            expect(found >= data * BLOCK, "%s of %s: %d bytes, but %d blocks of data", images[position]["image"], hour, found, data)
        return sum(image["allocated_bytes"] for image in images)


class Year:
    def __init__(self, daemon):
        self.daemon = daemon
        self.connection = daemon.connection()
        self.disks = [Disk(daemon, name) for name in DEVICES]
        self.kept = set()
        self.seconds = {"write": 0, "take": 0, "delete": 0, "verify": 0}
        self.deleted, self.longest, self.most_bytes = 0, 0, 0

    def timed(self, what, function, *arguments):
        began = time.monotonic()
        function(*arguments)
        self.seconds[what] += time.monotonic() - began

    def ask(self, method, path, body=None):
        del EXCHANGES[EXCHANGES_MAX:]
        return self.connection.ask(method, path, body)

    def take(self, hour):
        body = {"name": "h%d" % hour, "devices": [{"device": name} for name in DEVICES]}
        answer = self.ask("POST", "/snapshot-groups", body)
        expect(answer.status == 201, "hour %d: %s", hour, answer)
        for disk in self.disks:
            disk.freeze(hour)
        self.kept.add(hour)

    def delete(self, hour):
        answer = self.ask("DELETE", "/snapshot-groups/h%d" % hour)
        expect(answer.status == 202, "delete of %d: %s", hour, answer)
        path = "/jobs/" + answer.body["id"]
        wait_until(lambda: self.ask("GET", path).body["state"] not in ("queued", "running"), "the job to end")
        job = self.ask("GET", path).body
        expect(job["state"] == "done" and not job["kept"], "delete of %d: %s", hour, job)
        for disk in self.disks:
            disk.drop(hour)
        self.kept.discard(hour)
        self.deleted += 1

    def prune(self, now):
        for hour in sorted(self.kept - kept_hours(now)):
            self.delete(hour)

    def verify(self):
        total, files = 0, set()
        for disk in self.disks:
            disk.verify(disk.name, disk.blocks)
            for hour in sorted(self.kept):
                disk.verify("%s@h%d" % (disk.name, hour), disk.views[hour])
            chain = self.daemon.get("/devices/" + disk.name)["chain"]
            total += disk.verify_space(chain)
            files |= {image["image"] for image in chain}
            self.longest = max(self.longest, len(chain))
        found = {self.daemon.image(name) for name in self.daemon.image_names()}
        expect(found == files, "stray %s, missing %s", found - files, files - found)
        self.most_bytes = max(self.most_bytes, total)
        listed = {group["name"] for group in self.daemon.list("/snapshot-groups?state=committed")}
        expect(listed == {"h%d" % hour for hour in self.kept}, "groups are %s", listed)

    def run(self):
        for hour in range(HOURS):
            for disk in self.disks:
                self.timed("write", disk.write)
            self.timed("take", self.take, hour)
            self.timed("delete", self.prune, hour)
            if hour % VERIFIED_EACH == VERIFIED_EACH - 1 or hour == HOURS - 1:
                self.timed("verify", self.verify)
                print("hour %d: %d kept, chains of %d, %d KiB, %s" % (hour + 1, len(self.kept), self.longest,
                      self.most_bytes >> 10, {what: round(took, 1) for what, took in self.seconds.items()}), flush=True)
        for disk in self.disks:
            disk.handle.shutdown()


def test():
    use_memory()
    with Daemon() as daemon:
        daemon.start()
        for name in DEVICES:
            daemon.create_device(name, "qcow2", SIZE_BYTES, cluster_size_bytes=BLOCK, extended_l2=False)
        year = Year(daemon)
        year.run()
        for restart in (daemon.kill, daemon.stop):
            restart()
            daemon.start()
            year.verify()


main(test)
