# SPDX-License-Identifier: Apache-2.0
"""Unaligned writes across cuts: clients write 512 bytes at odd sectors of disks whose overlays copy
units of 4 sectors, each of which has sectors of two clients. So the first write to a unit after a
cut copies what another client writes at that moment.

A client waits for each answer: its number n goes to disk n mod N, after n-1. So whatever a cut
takes of it are its numbers 1 to m, and what the disks hold of its sectors then is known exactly.
Nobody writes even sectors.
"""
import random

from cutgates import CutDaemon
from dependent import SECTOR_BYTES, Loop, sector
from snapgroupd import expect, wait_until

CLIENTS = 4  # neighbours share a unit
DISKS = 2
AREA_SECTORS = 16
SIZE_BYTES = 1 << 20
FILLER = b"\xee" * SECTOR_BYTES
LOST = "a sector is lost"  # so begins what is said of a sector that a client wrote


def slow_daemon(dropped_rule=None):
    """Whose writes take some milliseconds, some more than others."""
    daemon = CutDaemon(dropped_rule)
    daemon.environment["SLOW_CHANGES"] = "1"
    return daemon


class Client(Loop):
    def __init__(self, daemon, names, number):
        super().__init__()
        self.handles = [daemon.nbd(name) for name in names]
        self.sectors = range(2 * number + 1, AREA_SECTORS, 2 * CLIENTS)
        self.random = random.Random(names[0] + str(number))
        self.places = [None]  # (disk, sector) of each number
        self.number = 0  # the last that was acknowledged

    def step(self):
        number = self.number + 1
        disk, at = number % len(self.handles), self.random.choice(self.sectors)
        self.places.append((disk, at))
        self.handles[disk].pwrite(sector(number), at * SECTOR_BYTES)
        self.number = number
        self.look(disk, at)
        self.look(self.random.randrange(len(self.handles)), self.random.choice(self.sectors))

    def look(self, disk, at):
        """It alone writes there."""
        found = bytes(self.handles[disk].pread(SECTOR_BYTES, at * SECTOR_BYTES))
        last = self.last(disk, at, self.number)
        expect(found == content(last), "%s: the live disk %d, sector %d: %r, after number %s", LOST, disk, at, found[:8],
               last)

    def last(self, disk, at, number):
        """The last number, up to that one, that it wrote there; or None."""
        while number and self.places[number] != (disk, at):
            number -= 1
        return number or None

    def await_progress(self, count):
        number = self.number + count
        wait_until(lambda: self.error or self.number >= number, "number %d of a client" % number)
        expect(self.error is None, "a client: %s", self.error)

    def stop(self):
        self.stopping.set()
        self.join()
        expect(self.error is None, "a client: %s", self.error)
        for handle in self.handles:
            handle.shutdown()

    def verify(self, areas, oldest, newest, what):
        """`areas`: what the disks hold; all numbers up to some m, from oldest to newest, are there.
        """
        found = {(disk, at): area[at * SECTOR_BYTES:(at + 1) * SECTOR_BYTES] for disk, area in enumerate(areas)
                 for at in self.sectors}
        there = max((int.from_bytes(data[:8], "little") for data in found.values() if data != FILLER), default=0)
        expect(oldest <= there <= newest, "%s: %s: number %d, acknowledged %d, issued %d", LOST, what, there, oldest,
               newest)
        for (disk, at), data in found.items():
            last = self.last(disk, at, there)
            expect(data == content(last), "%s: %s, disk %d, sector %d: %r, not %s, of numbers up to %d", LOST, what, disk, at,
                   data[:8], last, there)


def content(number):
    return FILLER if number is None else sector(number)


def read_areas(daemon, exports):
    areas = []
    for export in exports:
        handle = daemon.nbd(export)
        areas.append(bytes(handle.pread(AREA_SECTORS * SECTOR_BYTES, 0)))
        handle.shutdown()
    return areas


def verify(clients, areas, oldest, newest, what):
    for client, old, new in zip(clients, oldest, newest):
        client.verify(areas, old, new, what)
    for area in areas:
        for at in range(0, AREA_SECTORS, 2):
            expect(area[at * SECTOR_BYTES:(at + 1) * SECTOR_BYTES] == FILLER, "%s, sector %d is not what it was", what, at)


def take_batch(daemon, batch):
    """Groups with these numbers, of new disks."""
    names = ["disk%d-%d" % (batch[0], i) for i in range(DISKS)]
    for i, name in enumerate(names):
        daemon.create_device(name, "qcow2" if i % 2 else "raw", SIZE_BYTES)
        handle = daemon.nbd(name)
        handle.pwrite(FILLER * AREA_SECTORS, 0)
        handle.shutdown()
    clients = [Client(daemon, names, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    frozen = {}
    for i in batch:
        for client in clients:
            client.await_progress(2)
        oldest = [client.number for client in clients]
        daemon.snapshot("g%d" % i, names)
        newest = [len(client.places) - 1 for client in clients]
        exports = tuple("%s@g%d" % (name, i) for name in names)
        frozen[exports] = read_areas(daemon, exports)
        verify(clients, frozen[exports], oldest, newest, "g%d" % i)
    for client in clients:
        client.stop()
    numbers = [client.number for client in clients]
    verify(clients, read_areas(daemon, names), numbers, numbers, "the live disks")
    for exports, areas in frozen.items():
        expect(read_areas(daemon, exports) == areas, "%s have changed", exports)
