# SPDX-License-Identifier: Apache-2.0
"""Devices whose content a race knows (races.py), and clients that write to them.

A content is a list of numbers, one for each sector, which holds it as often as it can.
"""
import array
import itertools
import random
import threading

from snapgroupd import Failure, expect

SECTOR_BYTES = 512
numbers = itertools.count(1)


def sectors(data):
    """The number of each sector; Failure if one is torn."""
    words = array.array("Q", bytes(data))
    each = SECTOR_BYTES // words.itemsize
    firsts = words[::each]
    for word in range(1, each):
        expect(words[word::each] == firsts, "a sector is torn")
    return firsts.tolist()


class Disk:
    """`content`: as it was read last. `written`: of a sector, the number of the last value that was
    acknowledged since, and all values, the first being that of `content`."""

    def __init__(self, name, content):
        self.name = name
        self.look(content)

    def look(self, content):
        self.content, self.written = content, {}

    def marks(self):
        return {sector: state[0] for sector, state in list(self.written.items())}

    def allows(self, sector, value, marks=None):
        """Whether it may be there now, or after the marks were made."""
        state = self.written.get(sector)
        if state is None:
            return value == self.content[sector]
        return value in state[1][state[0] if marks is None else marks.get(sector, 0):]

    def begin(self, first, count, value):
        for sector in range(first, first + count):
            self.written.setdefault(sector, [0, [self.content[sector]]])[1].append(value)

    def end(self, first, count):
        for sector in range(first, first + count):
            state = self.written[sector]
            state[0] = len(state[1]) - 1


class Writer(threading.Thread):
    """Writes to a half of a disk, and reads what it wrote, until it is stopped or disconnected."""

    def __init__(self, daemon, disk, half, seed):
        super().__init__(daemon=True)
        self.disk, self.random = disk, random.Random(seed)
        middle = len(disk.content) // 2 + 3
        self.low, self.high = ((0, middle), (middle, len(disk.content)))[half]
        self.handle = daemon.nbd(disk.name)
        self.stopping, self.failure = threading.Event(), None

    def run(self):
        import nbd
        try:
            while not self.stopping.is_set():
                self.step()
            self.handle.shutdown()
        except nbd.Error:
            pass
        except Failure as failure:
            self.failure = failure
        self.handle = None

    def place(self):
        count = self.random.choice([1, 8, 8, 128, 200, 600])
        first = self.random.randrange(self.low, self.high)
        if self.random.random() < 0.3:
            first = max(self.low, first // 128 * 128)
        return first, min(count, self.high - first)

    def step(self):
        first, count = self.place()
        what = self.random.choice(["write"] * 10 + ["zero", "zero", "trim", "trim", "flush", "read", "read", "rest"])
        if what == "rest":
            self.stopping.wait(self.random.random() * 0.01)
        elif what == "flush":
            self.handle.flush()
        elif what == "read":
            self.read(first, count)
        else:
            self.change(what, first, count)

    def change(self, what, first, count):
        offset, size = first * SECTOR_BYTES, count * SECTOR_BYTES
        number = next(numbers) if what == "write" else 0
        self.disk.begin(first, count, number)
        if what == "write":
            import nbd
            flags = nbd.CMD_FLAG_FUA if self.random.random() < 0.05 else 0
            self.handle.pwrite(number.to_bytes(8, "little") * (size // 8), offset, flags)
        elif what == "zero":
            self.handle.zero(size, offset)
        else:
            self.handle.trim(size, offset)
            self.read(first, count, True)
        self.disk.end(first, count)

    def read(self, first, count, takes=False):
        got = sectors(self.handle.pread(count * SECTOR_BYTES, first * SECTOR_BYTES))
        for sector, value in enumerate(got, start=first):
            expect(self.disk.allows(sector, value), "%s, sector %d: a client reads %d", self.disk.name, sector, value)
            if takes:  # a trim leaves either
                self.disk.written[sector][1].append(value)

    def stop(self):
        self.stopping.set()
        self.join()
        if self.failure:
            raise self.failure
