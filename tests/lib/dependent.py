# SPDX-License-Identifier: Apache-2.0
"""Dependent writes: number k goes to disk k mod N, and only after k-1 was acknowledged. Whatever
the instant at which all N disks are frozen together, the N numbers in them must then be
consecutive; a cut that is not one instant shows as a gap. Snapshots are taken meanwhile, and every
frozen member is read back over NBD."""
import os
import struct
import threading

from snapgroupd import Daemon, expect, wait_until

CUTS = os.environ.get("CUTS")  # how many a test takes, instead of as many as CI has time for
CHAIN = 25  # so many groups of a daemon and its disks, so that chains stay short
DISKS = 8
SIZE_BYTES = 1 << 20
SECTOR_BYTES = 512


def batches(default):
    """Of the cuts of a test: ranges of at most CHAIN numbers."""
    cuts = int(CUTS or default)
    return [range(first, min(first + CHAIN, cuts)) for first in range(0, cuts, CHAIN)]


class Loop(threading.Thread):
    """step() again and again, until it is stopped; an error waits for the test to ask."""
    ENDS = ()  # errors with which it ends as if it had been stopped

    def __init__(self):
        super().__init__(daemon=True)
        self.steps = 0
        self.stopping = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self.stopping.is_set():
                self.step()
                self.steps += 1
        except self.ENDS:
            pass
        except Exception as error:  # of libnbd, or a Failure
            self.error = error


class Client(Loop):
    """One connection to each disk; one step at a time, next_number(handles, number)."""

    def __init__(self, daemon, names, next_number):
        super().__init__()
        self.handles = [daemon.nbd(name) for name in names]
        self.next_number = next_number
        self.number = 0

    def step(self):
        self.number = self.next_number(self.handles, self.number)

    def await_number(self, number):
        wait_until(lambda: self.error or self.number >= number, "number %d of a client" % number)
        expect(self.error is None, "a client got an error: %s", self.error)

    def stop(self):
        self.stopping.set()
        self.join()
        for handle in self.handles:
            handle.shutdown()


def sector(number):
    return struct.pack("<Q", number) * (SECTOR_BYTES // 8)


def write_next(handles, number):
    handles[(number + 1) % len(handles)].pwrite(sector(number + 1), 0)
    return number + 1


def read_number(handle):
    return struct.unpack("<Q", bytes(handle.pread(8, 0)))[0]


def frozen_numbers(daemon, names, group):
    numbers = []
    for name in names:
        handle = daemon.nbd("%s@%s" % (name, group))
        numbers.append(read_number(handle))
        handle.shutdown()
    return numbers


def is_consecutive(numbers):
    return sorted(numbers) == list(range(min(numbers), min(numbers) + len(numbers)))


def torn_snapshots(executable, groups):
    """Takes that many groups while the client writes; returns those whose numbers have gaps."""
    torn, writes = [], 0
    for batch in batches(groups):
        with Daemon(executable) as daemon:
            daemon.start()
            writes += torn_in_batch(daemon, batch, torn)
    print("%d groups, %d writes, %d torn" % (batch[-1] + 1, writes, len(torn)))
    return torn


def written_disks(daemon):
    """New ones: their names, and the client that writes to them."""
    names = ["disk%d" % i for i in range(DISKS)]
    for i, name in enumerate(names):
        daemon.create_device(name, "qcow2" if i % 2 else "raw", SIZE_BYTES)
    client = Client(daemon, names, write_next)
    client.start()
    return names, client


def torn_in_batch(daemon, batch, torn):
    """Adds to `torn`; returns the number of writes."""
    names, client = written_disks(daemon)
    for i in batch:
        client.await_number(client.number + 2 * DISKS)  # writes run, and each overlay has some
        group = daemon.snapshot("g%d" % i, names)
        expect(group["pause_us"] == 0, "the cut held somebody for %d us", group["pause_us"])
        numbers = frozen_numbers(daemon, names, group["name"])
        if not is_consecutive(numbers):
            torn.append((group["name"], numbers))
    client.await_number(client.number + 2 * DISKS)
    client.stop()
    return client.number
