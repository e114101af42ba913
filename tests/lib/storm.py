# SPDX-License-Identifier: Apache-2.0
"""A storm: on each disk several connections write, zero, discard, read and flush; callers take
groups of disks that overlap, so that some are refused; another disk comes and goes; the daemon is
killed and starts again.

A cell is a sector or a cluster that one connection owns, full of one 64-bit number, or zeros.
Sectors of all connections of a disk alternate, so that each copies what others write. `allowed` is
what a cell may hold now: after an answer one number, two or more while a request is under way,
after one that was never answered, or after a discard.
"""
import array
import http.client
import random
import time
import zlib

import dependent
from snapgroupd import Daemon, Failure, expect, group_body
from unaligned import slow_daemon

SECTOR = 512
CLUSTER = 65536
SECTORS_EACH = 8  # of a connection
SIZE_BYTES = 4 << 20
REST_S = 0.02  # of who takes groups, between two
GONE = (OSError, http.client.HTTPException)  # the daemon was killed


class Cell:
    def __init__(self, offset, length):
        self.offset, self.length = offset, length
        self.allowed = frozenset([0])
        self.issued = []

    def change(self, number, request):
        self.issued.append(number)
        self.allowed |= {number}
        request()
        self.allowed = frozenset([number])

    def discard(self, request):
        self.issued.append(0)
        self.allowed |= {0}
        request()

    def data(self, number):
        return array.array("Q", [number]).tobytes() * (self.length // 8)

    def verify(self, data, allowed, what):
        words = set(array.array("Q", data))
        expect(words <= allowed and (self.length > SECTOR or len(words) == 1), "%s, offset %d: %s, allowed are %s", what,
               self.offset, sorted(words)[:4], sorted(allowed)[:4])


class Disk:
    def __init__(self, name, connections):
        self.name = name
        first = (connections * SECTORS_EACH * SECTOR + CLUSTER - 1) // CLUSTER * CLUSTER
        self.cells = [[Cell((i * connections + c) * SECTOR, SECTOR) for i in range(SECTORS_EACH)] +
                      [Cell(first + c * CLUSTER, CLUSTER)] for c in range(connections)]
        self.all = [cell for cells in self.cells for cell in cells]
        self.area_bytes = first + connections * CLUSTER

    def read(self, daemon, export):
        handle = daemon.nbd(export)
        data = bytes(handle.pread(self.area_bytes, 0))
        handle.shutdown()
        return data

    def verify(self, data, allowed, what):
        for cell, each in zip(self.all, allowed):
            cell.verify(data[cell.offset:cell.offset + cell.length], each, what)

    def verify_live(self, daemon):
        """Nobody writes."""
        self.verify(self.read(daemon, self.name), [cell.allowed for cell in self.all], self.name)


class Loop(dependent.Loop):
    """Ends when the daemon is killed, too."""
    ENDS = GONE

    def __init__(self, seed):
        super().__init__()
        self.random = random.Random(seed)

    def finish(self):
        self.stopping.set()
        self.join()
        if self.error:
            raise self.error


class Connection(Loop):
    def __init__(self, daemon, disk, number, seed):
        super().__init__("%s-%d-%s" % (disk.name, number, seed))
        self.disk, self.cells = disk, disk.cells[number]
        self.handle = daemon.nbd(disk.name)
        self.number = max([n for cell in self.cells for n in cell.issued], default=0)

    def step(self):
        import nbd
        try:
            self.request(self.random.choice(self.cells), self.random.random(), nbd.CMD_FLAG_FUA)
        except nbd.Error as error:
            if self.handle.aio_is_dead() or self.handle.aio_is_closed():
                raise ConnectionError(str(error)) from None
            raise Failure("a client of %s got an error: %s" % (self.disk.name, error)) from None

    def request(self, cell, draw, fua):
        handle = self.handle
        self.number += 1
        if draw < 0.5:
            flags = fua if draw < 0.05 else 0
            cell.change(self.number, lambda: handle.pwrite(cell.data(self.number), cell.offset, flags))
        elif draw < 0.6:
            cell.change(0, lambda: handle.zero(cell.length, cell.offset))
        elif draw < 0.65:
            cell.discard(lambda: handle.trim(cell.length, cell.offset))
        elif draw < 0.7:
            handle.flush()
        else:
            cell.verify(bytes(handle.pread(cell.length, cell.offset)), cell.allowed, self.disk.name)


class Group:
    """That was asked for, with what its members may hold."""

    def __init__(self, name, disks):
        self.name, self.disks = name, disks
        cells = [cell for disk in disks for cell in disk.all]
        self.counts = [len(cell.issued) for cell in cells]  # before `allowed`: see Cell.change()
        self.allowed = [cell.allowed for cell in cells]
        self.checksums = None

    def end(self):
        """It was answered, or the daemon was killed."""
        cells = [cell for disk in self.disks for cell in disk.all]
        self.allowed = [each | set(cell.issued[count:])
                        for cell, count, each in zip(cells, self.counts, self.allowed)]

    def verify(self, daemon):
        """What is frozen is right, and what it was when it was last looked at."""
        checksums, at = [], 0
        for disk in self.disks:
            export = "%s@%s" % (disk.name, self.name)
            data = disk.read(daemon, export)
            disk.verify(data, self.allowed[at:at + len(disk.all)], export)
            checksums.append(zlib.crc32(data))
            at += len(disk.all)
        expect(self.checksums in (None, checksums), "%s has changed", self.name)
        self.checksums = checksums


class Taker(Loop):
    def __init__(self, daemon, disks, guest, name):
        super().__init__(name)
        self.daemon, self.disks, self.guest, self.prefix = daemon, disks, guest, name
        self.groups, self.pending, self.refused = [], None, 0

    def step(self):
        disks = self.random.sample(self.disks, self.random.randrange(2, max(3, len(self.disks) // 2)))
        names = [disk.name for disk in disks] + [self.guest.device] * (self.random.random() < 0.3)
        self.pending = Group("%s-%d" % (self.prefix, self.steps), disks)
        answer = self.daemon.request("POST", "/snapshot-groups", group_body(self.pending.name, names))
        group, self.pending = self.pending, None
        if answer.status == 201:
            group.end()
            self.groups.append(group)
            if self.random.random() < 0.3:
                self.verify(group)
        else:
            expect(answer.body["code"] in ("DeviceInUse", "DeviceNotFound"), "%s: %s", group.name, answer)
            self.refused += 1
        self.stopping.wait(REST_S)

    def verify(self, group):
        import nbd
        try:
            group.verify(self.daemon)
        except nbd.Error as error:
            raise ConnectionError(str(error)) from None  # of one that lives, rage() finds


class Guest(Loop):
    """A disk that comes and goes."""

    def __init__(self, daemon, name):
        super().__init__(name)
        self.daemon, self.prefix, self.device = daemon, name, name
        self.returns = 0

    def step(self):
        import nbd
        self.device = "%s-%d" % (self.prefix, self.steps)
        self.daemon.create_device(self.device, self.random.choice(["raw", "qcow2"]), 1 << 20)
        content = self.random.randbytes(CLUSTER)
        try:
            handle = self.daemon.nbd(self.device)
            handle.pwrite(content, 0)
            handle.shutdown()
            self.detach()
            if self.come_back(content):
                self.returns += 1
                self.detach()
        except nbd.Error as error:
            raise ConnectionError(str(error)) from None  # of one that lives, rage() finds

    def detach(self):
        """Also refused while a group has it, or a connection of it ends."""
        while not self.stopping.is_set():
            self.image = self.daemon.get("/devices/" + self.device)
            answer = self.daemon.request("DELETE", "/devices/" + self.device)
            if answer.status == 204:
                return
            expect(answer.body["code"] == "DeviceInUse", "DELETE of %s: %s", self.device, answer)
            self.stopping.wait(0.005)

    def come_back(self, content):
        """Unless it was in a group after the look at its image, which is frozen then."""
        if self.stopping.is_set():
            return False
        body = {"name": self.device, "image": self.image["image"], "format": self.image["format"]}
        answer = self.daemon.request("POST", "/devices", body)
        if answer.status != 201:
            return False
        handle = self.daemon.nbd(self.device)
        expect(handle.pread(CLUSTER, 0) == content, "%s is not what it was before its detach", self.device)
        handle.shutdown()
        return True


class Storm:
    def __init__(self, daemon, disks, connections, takers):
        self.daemon, self.connections, self.takers = daemon, connections, takers
        self.disks = [Disk("d%d" % i, connections) for i in range(disks)]
        for i, disk in enumerate(self.disks):
            daemon.create_device(disk.name, "qcow2" if i % 2 else "raw", SIZE_BYTES)
        self.rounds = self.requests = self.refused = self.returns = 0
        self.groups = []

    def rage(self, seconds, is_killed):
        """One round. At its end nobody writes, and the daemon runs."""
        self.rounds += 1
        guest = Guest(self.daemon, "guest%d" % self.rounds)
        takers = [Taker(self.daemon, self.disks, guest, "g%d-%d" % (self.rounds, i)) for i in range(self.takers)]
        clients = [Connection(self.daemon, disk, i, self.rounds) for disk in self.disks for i in range(self.connections)]
        threads = clients + takers + [guest]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and all(thread.is_alive() for thread in threads):
            time.sleep(0.05)
        expect(all(thread.is_alive() for thread in threads) or any(thread.error for thread in threads),
               "a client lost its connection")
        if is_killed:
            self.daemon.kill()
        for thread in threads:
            thread.finish()
        for client in clients:
            client.handle = None
        self.count(clients, takers, guest)
        if is_killed:
            self.daemon.start()
        self.verify(takers)

    def count(self, clients, takers, guest):
        self.requests += sum(client.steps for client in clients)
        self.refused += sum(taker.refused for taker in takers)
        self.returns += guest.returns

    def verify(self, takers):
        states = {row["name"]: row["state"] for row in self.daemon.list("/snapshot-groups")}
        expect(set(states.values()) <= {"committed", "aborted"}, "states: %s", set(states.values()))
        for taker in takers:
            self.groups += taker.groups
            if taker.pending and states.get(taker.pending.name) == "committed":
                taker.pending.end()
                self.groups.append(taker.pending)
        for disk in self.disks:
            disk.verify_live(self.daemon)
        for group in self.groups:
            expect(states.get(group.name) == "committed", "%s was committed, and is %s", group.name, states.get(group.name))
        for group in self.groups[-20:]:
            group.verify(self.daemon)

    def __str__(self):
        return "%d rounds, %d requests, %d groups, %d refused, %d detached and attached again" % (
            self.rounds, self.requests, len(self.groups), self.refused, self.returns)


def storm(daemon, disks, connections, takers, rounds, seconds):
    """The daemon is killed at the end of every round but the last."""
    made = Storm(daemon, disks, connections, takers)
    for number in range(rounds):
        made.rage(seconds, number < rounds - 1)
    daemon.restart()
    for disk in made.disks:
        disk.verify_live(daemon)
    for group in made.groups:
        group.verify(daemon)
    print(made)
    expect(made.groups and made.refused, "no storm: %s", made)


def storms(**options):
    """A storm over a daemon, and one over a daemon in which each change takes some milliseconds, so
    that some are in flight at every cut."""
    for each in (Daemon, slow_daemon):
        with each() as daemon:
            daemon.start()
            storm(daemon, **options)
