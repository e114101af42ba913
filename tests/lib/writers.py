# SPDX-License-Identifier: Apache-2.0
"""NBD clients that write all the time and record the promises made to them.

A disk has BLOCKS blocks of BLOCK_BYTES, spread over it, each full of one 64-bit number that only
grows. For every block the disk remembers the numbers it has

    flushed  <=  acknowledged  <=  issued

so whatever happens to the daemon, each number that is read later lies between the last one
acknowledged before and the last one issued. (After a power loss, which no test here makes, it would
be the last one flushed.)
"""
import array
import random
import threading

from snapgroupd import expect, wait_until

BLOCKS = 24
BLOCK_BYTES = 4096
WRITES_PER_FLUSH = 5
# After a flush: without it the writers take the cores from the request that they are to meet.
REST_S = 0.001


class Disk:
    def __init__(self, name, size_bytes):
        self.name = name
        self.stride = size_bytes // BLOCKS // 512 * 512  # blocks at odd places share clusters
        self.number = 0
        self.issued = [0] * BLOCKS
        self.acknowledged = [0] * BLOCKS
        self.flushed = [0] * BLOCKS

    def write(self, handle, block):
        self.number += 1
        number = self.number
        self.issued[block] = number
        handle.pwrite(array.array("Q", [number]).tobytes() * (BLOCK_BYTES // 8), block * self.stride)
        self.acknowledged[block] = number

    def flush(self, handle):
        acknowledged = list(self.acknowledged)
        handle.flush()
        self.flushed = acknowledged

    def verify(self, handle, acknowledged, issued, what):
        """What is read lies between; returns the lowest number of each block."""
        lowest = []
        for block in range(BLOCKS):
            words = array.array("Q", bytes(handle.pread(BLOCK_BYTES, block * self.stride)))
            expect(acknowledged[block] <= min(words) and max(words) <= issued[block],
                   "%s, block %d: reads %d..%d, acknowledged %d, issued %d", what, block, min(words),
                   max(words), acknowledged[block], issued[block])
            lowest.append(min(words))
        return lowest

    def verify_device(self, daemon):
        """After a restart. What was seen now must be there for good."""
        handle = daemon.nbd(self.name)
        self.acknowledged = self.verify(handle, self.acknowledged, self.issued, self.name)
        self.flushed = list(self.acknowledged)
        handle.shutdown()

    def verify_frozen(self, daemon, group, acknowledged, issued):
        export = "%s@%s" % (self.name, group)
        handle = daemon.nbd(export)
        self.verify(handle, acknowledged, issued, export)
        handle.shutdown()


class Writer(threading.Thread):
    """Writes to a disk over a connection of its own until it is stopped or gets an error."""

    def __init__(self, daemon, disk):
        super().__init__(daemon=True)
        self.disk = disk
        self.handle = daemon.nbd(disk.name)
        self.random = random.Random(disk.name)
        self.stopping = threading.Event()
        self.error = None

    def run(self):
        import nbd
        try:
            while not self.stopping.is_set():
                for _ in range(WRITES_PER_FLUSH):
                    self.disk.write(self.handle, self.random.randrange(BLOCKS))
                self.disk.flush(self.handle)
                self.stopping.wait(REST_S)
        except nbd.Error as error:
            self.error = error

    def stop(self):
        self.stopping.set()
        self.join()
        self.handle = None  # closed, whatever state it is in

    def expect_progress(self):
        """A flush that begins from now on succeeds."""
        number = self.disk.number
        wait_until(lambda: self.error or max(self.disk.flushed) > number,
                   "a write and a flush of %s" % self.disk.name)
        expect(self.error is None, "a client of %s got an error: %s", self.disk.name, self.error)


def start_writers(daemon, disks):
    """One for each disk, all of them writing."""
    writers = [Writer(daemon, disk) for disk in disks]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.expect_progress()
    return writers


def stop_writers(writers):
    for writer in writers:
        writer.stop()
