# SPDX-License-Identifier: Apache-2.0
"""Clients that record the promises made to them, and when: by the position of the recorded disk
(powerlog.py).

Everything complete when a reply arrived is before the position read then. So a promise recorded at
`position` holds in every state whose cut is at least Log.count(position), and a request issued at
`position` has no effect in a state whose cut is at most that.

Every block of a device has a history: number 0 is what it held at first, event k is the k-th change
of it. A block belongs to one client, which waits for each answer, so that its history has one
order:

    event      0 . . . . . . flushed . . . . . acknowledged . . . . . issued
    may be read after a power failure: (what it made) ^-----------------------^

A change is a write of one 64-bit number, unlike any other, repeated all over the block; or zeroes;
or a discard, after which a sector holds zeros or what it held before; or a rollback, after which it
holds what was read of the frozen member, a frozenset of numbers.
"""
import array
import contextlib
import ctypes
import errno
import os
import random
import threading

from filesystems import fill
from snapgroupd import Failure, expect, wait_until

BLOCKS = 24  # of a device; between them as much room again and more
BLOCK_BYTES = 4096
WORDS = BLOCK_BYTES // 8
CLIENTS = 2  # of a device; each has the blocks that leave its number as remainder
SECTOR_BYTES = 512
FREE_BYTES = 2 << 20  # most that is left by who fills a file system
DISCARD = "discard"


class Device:
    """The histories of one device's blocks, and the promises made of them."""

    def __init__(self, name, image_format, size_bytes, first_number, initial=None):
        self.name = name
        self.format = image_format
        self.size_bytes = size_bytes
        self.stride = size_bytes // (BLOCKS + 1) // SECTOR_BYTES * SECTOR_BYTES
        self.lock = threading.Lock()  # guards number
        self.number = first_number
        self.events = [[number] for number in initial or [0] * BLOCKS]  # a number, 0 or DISCARD
        self.acknowledged = [0] * BLOCKS
        self.promises = [[] for _ in range(BLOCKS)]  # (position, event)
        # Events that may have had no effect, for want of space.
        self.refused = [set() for _ in range(BLOCKS)]

    def next_number(self):
        with self.lock:
            self.number += 1
            return self.number

    def acknowledged_now(self):
        return list(self.acknowledged)

    def issued_now(self):
        return [len(events) - 1 for events in self.events]

    def promise(self, position, events):
        for block, event in enumerate(events):
            self.promises[block].append((position, event))

    def durable(self, block, is_due):
        return max([event for position, event in self.promises[block] if is_due(position)], default=0)

    def allowed(self, block, oldest, newest):
        """The words that may be read if the last change that is there is one of oldest..newest."""
        events = self.events[block]
        while events[oldest] == DISCARD or oldest in self.refused[block]:
            oldest -= 1
        words = set()
        for event in events[oldest:newest + 1]:
            words |= event if isinstance(event, frozenset) else {0 if event == DISCARD else event}
        return words

    def verify(self, content, oldest, newest, what):
        for block in range(BLOCKS):
            start = block * self.stride
            words = set(array.array("Q", content[start:start + BLOCK_BYTES]))
            allowed = self.allowed(block, oldest[block], newest[block])
            expect(words <= allowed, "%s, block %d: reads %s, allowed are %s (events %d to %d of %s)", what,
                   block, sorted(words)[:4], sorted(allowed)[:8], oldest[block], newest[block],
                   self.events[block][-8:])


class Client(threading.Thread):
    """A thread that takes one step after the other until it is stopped; an error waits for the test
    to ask."""
    REST_S = 0.003

    def __init__(self):
        super().__init__(daemon=True)
        self.error = None
        self.steps = self.refusals = 0
        self.stopping = threading.Event()

    def run(self):
        try:
            while not self.stopping.is_set():
                try:
                    self.step()
                except Exception as error:
                    if getattr(error, "errnum", None) != errno.ENOSPC:
                        raise
                    self.refusals += 1  # a change that may have been made, and is not promised
                self.steps += 1
                # So that a round has some hundred flushes.
                self.stopping.wait(random.random() * self.REST_S)
        except Exception as error:  # of libnbd, or a Failure
            self.error = error

    def expect_steps(self, count):
        end = self.steps + count
        wait_until(lambda: self.error or self.steps >= end, "%d steps of %s" % (count, self))
        expect(self.error is None, "%s got an error: %s", self, self.error)

    def stop_anyhow(self):
        self.stopping.set()
        self.join()

    def stop(self):
        self.stop_anyhow()
        expect(self.error is None, "%s got an error: %s", self, self.error)


class Writer(Client):
    """Changes blocks of a device: writes, zeroes, discards, with and without FUA; and flushes,
    which promise what all clients of the device have acknowledged."""

    def __init__(self, daemon, disk, device, number, seed):
        super().__init__()
        import nbd
        self.nbd = nbd
        self.disk, self.device = disk, device
        self.blocks = self.chosen = range(number, BLOCKS, CLIENTS)  # chosen: those it changes now
        self.handle = daemon.nbd(device.name)
        self.random = random.Random(seed)

    def step(self):
        draw = self.random.random()
        if draw < 0.05:
            self.flush()
        else:
            fua = self.nbd.CMD_FLAG_FUA if self.random.random() < 0.05 else 0
            self.change(self.random.choice(self.chosen), draw, fua)

    def change(self, block, draw, fua):
        try:
            self.change_or_raise(block, draw, fua)
        except self.nbd.Error:
            self.device.refused[block].add(len(self.device.events[block]) - 1)
            raise

    def change_or_raise(self, block, draw, fua):
        device, offset = self.device, block * self.device.stride
        events = device.events[block]
        if draw < 0.75:
            number = device.next_number()
            events.append(number)
            self.handle.pwrite(array.array("Q", [number]).tobytes() * WORDS, offset, fua)
        elif draw < 0.88:
            no_hole = self.nbd.CMD_FLAG_NO_HOLE if draw < 0.82 else 0
            events.append(0)
            self.handle.zero(BLOCK_BYTES, offset, fua | no_hole)
        else:
            events.append(DISCARD)
            self.handle.trim(BLOCK_BYTES, offset, fua)
        if fua:
            device.promises[block].append((self.disk.position(), len(events) - 1))
        device.acknowledged[block] = len(events) - 1

    def flush(self):
        acknowledged = self.device.acknowledged_now()
        self.handle.flush()
        self.device.promise(self.disk.position(), acknowledged)


class Dependent(Client):
    """Number k goes to device k mod N, and only after k-1 was acknowledged as durable: whatever the
    moment, N consecutive numbers are on the devices, and in every group of them."""
    REST_S = 0.01

    def __init__(self, daemon, disk, devices):
        super().__init__()
        self.disk, self.devices = disk, devices
        self.handles = [daemon.nbd(device.name) for device in devices]
        self.number = 0
        self.promises = []  # (position, number)

    def step(self):
        number = self.number + 1
        i = number % len(self.devices)
        sector = array.array("Q", [number]).tobytes() * (SECTOR_BYTES // 8)
        if number % 2:
            import nbd
            self.handles[i].pwrite(sector, self.offset(self.devices[i]), nbd.CMD_FLAG_FUA)
        else:
            self.handles[i].pwrite(sector, self.offset(self.devices[i]))
            self.handles[i].flush()
        self.number = number
        self.promises.append((self.disk.position(), number))

    @staticmethod
    def offset(device):
        return device.size_bytes - SECTOR_BYTES

    def verify(self, contents, what):
        """The numbers in what was read of all devices are consecutive; the last of them."""
        numbers = []
        for device, content in zip(self.devices, contents):
            words = set(array.array("Q", content[self.offset(device):]))
            expect(len(words) == 1, "%s of %s: a sector reads %s", what, device.name, sorted(words))
            numbers += words
        last = max(numbers)
        expect(sorted(numbers) == sorted(max(0, last - i) for i in range(len(numbers))),
               "%s: the dependent numbers have a gap: %s", what, numbers)
        return last


class Writeback(Client):
    """Sometimes the kernel writes pages of an image without a request."""
    REST_S = 0.02

    def __init__(self, directory, seed):
        super().__init__()
        self.directory = directory
        self.random = random.Random(seed)
        self.libc = ctypes.CDLL(None, use_errno=True)

    def step(self):
        name = self.random.choice(os.listdir(self.directory))
        try:
            fd = os.open(os.path.join(self.directory, name), os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            offset = self.random.randrange(0, 1 << 20, BLOCK_BYTES)
            result = self.libc.sync_file_range(fd, ctypes.c_int64(offset), ctypes.c_int64(1 << 17), 2)
            if result != 0:
                raise Failure("sync_file_range: %s" % os.strerror(ctypes.get_errno()))
        finally:
            os.close(fd)


class Filler(Client):
    """Fills the images' file system with a file, and empties it."""
    REST_S = 0.05

    def __init__(self, path, seed):
        super().__init__()
        self.path = path
        self.random = random.Random(seed)

    def empty(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def step(self):
        self.empty()
        if self.random.random() < 0.6:
            fill(self.path, self.random.randrange(FREE_BYTES))
