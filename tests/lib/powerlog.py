# SPDX-License-Identifier: Apache-2.0
"""A disk that records the order of all its writes, and the contents that a power failure could have
left.

    daemon -> file system -> loop device -> file on FUSE, by qemu-storage-daemon -+
                                                                                  v
                                                    log <- blklogwrites -> disk.raw

qemu-storage-daemon executes one request at a time and records each before it replies, so the log
has the order of the disk, and everything that the kernel knows to be complete. The log (as
dm-log-writes has it, all little-endian, in sectors of 512 bytes):

    sector 0             magic, version, number of entries (8 bytes each), sector size (4)
    then for each entry  one sector: first sector, sectors, flags, 0 (8 bytes each); then the data
    flags                1 flush, 2 FUA, 4 discard (no data follow; zeros are read there)

A state is what the disk may hold after a power failure at `cut`, when it had done log[0:cut]:

    log  | w w F w w w w F w w w w F ...     everything before the last flush is there; of the
                         ^flush  ^cut        writes since then any part, in any order

but a sector never goes back: where several writes of one sector survive, the last of them is what
is read. A part of a write is made of blocks, or of sectors where the kind says `torn`. Some blocks
are never torn, for their file systems need a disk that writes the sectors of a block as one: that
with the superblock of ext4 or btrfs; and those of the trees and directories of xfs, which recovery
passes over if their first sector is newer than what the log has, so that a torn one fails its
checksum and the mount.

The disk has one file system, with images/ and state/ in it; or one for each, of the same kind. Then
a sync of the database carries nothing of the images along.
"""
import bisect
import contextlib
import mmap
import os
import random
import signal
import struct
import subprocess

import loops
from filesystems import MKFS
from snapgroupd import DEADLINE_S, expect, run, wait_until

# A copy asks for 64 MiB to spare. With two file systems, a quarter is for the state.
DISK_BYTES = {"ext4": 144 << 20, "xfs": 144 << 20, "btrfs": 512 << 20}
SECTOR_BYTES = 512
BLOCK_BYTES = 4096
FLAG_FLUSH, FLAG_FUA, FLAG_DISCARD = 1, 2, 4
HEADER = struct.Struct("<QQQQ")


class Part:
    """A file system on the disk, and where it is mounted."""
    MKFS = {"ext4": ["mkfs.ext4", "-q", "-F", "-b", str(BLOCK_BYTES), "-N", "256", "-J", "size=4", "-E",
                     "nodiscard,lazy_itable_init=0,lazy_journal_init=0"],
            "xfs": MKFS["xfs"], "btrfs": MKFS["btrfs"]}
    SUPERBLOCK = {"ext4": 0, "btrfs": 64 << 10}
    # What blocks of trees and directories begin with; some have it at 8.
    XFS_BLOCKS = (b"BMA3", b"AB3B", b"AB3C", b"IAB3", b"FIB3", b"RMB3", b"R3FC", b"XDB3", b"XDD3", b"XDF3", b"XSLM")
    XFS_NODES = (b"\x3e\xbe", b"\x3d\xf1", b"\x3d\xff", b"\x3b\xee")
    # Copies of a disk are mounted at the same time.
    OPTIONS = {"ext4": "", "xfs": "nouuid", "btrfs": ""}

    def __init__(self, kind, mountpoint, offset, size):
        self.kind, self.mountpoint, self.offset, self.bytes = kind, mountpoint, offset, size

    def create(self, path):
        made = path + ".part"
        with open(made, "w") as file:
            file.truncate(self.bytes)
        run(*self.MKFS[self.kind], made)
        run("dd", "status=none", "conv=notrunc,sparse", "bs=64k", "seek=%d" % (self.offset >> 16), "if=" + made,
            "of=" + path)
        os.unlink(made)

    def mount(self, path):
        loops.mount(path, self.offset, self.bytes, self.kind, self.mountpoint, self.OPTIONS[self.kind])

    def is_whole(self, offset, block):
        """Whether the block there is never torn."""
        if self.kind == "xfs":
            return block[:4] in self.XFS_BLOCKS or block[8:10] in self.XFS_NODES
        return offset == self.offset + self.SUPERBLOCK[self.kind]


def parts(mountpoint, kind, is_split, disk_bytes):
    if not is_split:
        return [Part(kind, mountpoint, 0, disk_bytes)]
    directories = [os.path.join(mountpoint, name) for name in ("images", "state")]
    for directory in directories:
        os.makedirs(directory, exist_ok=True)
    return [Part(kind, directories[0], 0, disk_bytes * 3 // 4),
            Part(kind, directories[1], disk_bytes * 3 // 4, disk_bytes // 4)]


@contextlib.contextmanager
def mounted(path, of_disk):
    with contextlib.ExitStack() as mounts:
        for part in of_disk:
            part.mount(path)
            mounts.callback(loops.umount, part.mountpoint)
        yield


class Disk:
    """The recorded disk, mounted between begin and end. Files lie in `directory`."""

    def __init__(self, directory, mountpoint, kind, is_split, spare_bytes=0):
        self.bytes = DISK_BYTES[kind] + spare_bytes
        self.mountpoint, self.parts = mountpoint, parts(mountpoint, kind, is_split, self.bytes)
        self.base, self.content, self.export, self.log = (
            os.path.join(directory, name) for name in ("base.raw", "disk.raw", "disk", "log"))
        self.recorder = None
        self.mounts = contextlib.ExitStack()

    def __enter__(self):
        for path in (self.content, self.export, self.log):
            with open(path, "w"):
                pass
        os.truncate(self.content, self.bytes)
        for part in self.parts:
            part.create(self.content)
        run("cp", "--sparse=always", self.content, self.base)
        try:
            self.mount()
        except BaseException:
            self.end()
            raise
        return self

    def mount(self):
        self.recorder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "qemu-storage-daemon",
             "--blockdev", "driver=file,node-name=content,discard=unmap,filename=" + self.content,
             "--blockdev", "driver=file,node-name=log,filename=" + self.log,
             "--blockdev", "driver=blklogwrites,node-name=disk,file=content,log=log,log-sector-size=%d"
             % SECTOR_BYTES,
             "--export", "fuse,id=disk,node-name=disk,writable=on,mountpoint=" + self.export])
        wait_until(lambda: self.recorder.poll() is not None or os.stat(self.export).st_size == self.bytes,
                   "the recorder's file")
        expect(self.recorder.poll() is None, "the recorder ended by itself")
        self.mounts.enter_context(mounted(self.export, self.parts))

    def position(self):
        """Everything that is done by now lies in front of it; Log.count() makes a number of entries
        of it."""
        return os.stat(self.log).st_size

    def end(self):
        self.mounts.close()
        if self.recorder:
            self.recorder.send_signal(signal.SIGTERM)
            expect(self.recorder.wait(DEADLINE_S) == 0, "the recorder ended with %d",
                   self.recorder.returncode)
            self.recorder = None

    def __exit__(self, kind, value, traceback):
        try:
            self.end()
        except Exception:
            if kind is None:
                raise
        finally:
            if self.recorder and self.recorder.poll() is None:
                self.recorder.kill()
                self.recorder.wait()


class Entry:
    __slots__ = ("at", "offset", "bytes", "flags")  # in the log; on the disk

    def __init__(self, at, offset, length, flags):
        self.at, self.offset, self.bytes, self.flags = at, offset, length, flags


class Log:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.entries = []
        at = SECTOR_BYTES
        while at < len(self.data):
            sector, sectors, flags, _ = HEADER.unpack_from(self.data, at)
            self.entries.append(Entry(at, sector * SECTOR_BYTES, sectors * SECTOR_BYTES, flags))
            at += SECTOR_BYTES + (0 if flags & FLAG_DISCARD else sectors * SECTOR_BYTES)
        expect(at == len(self.data), "the log ends in the middle of an entry")
        self.starts = [entry.at for entry in self.entries]
        self.flushes = [i for i, entry in enumerate(self.entries) if entry.flags & FLAG_FLUSH]
        # A loop device has no FUA: the kernel makes flushes of it.
        expect(not any(entry.flags & FLAG_FUA for entry in self.entries), "FUA is not understood here")

    def count(self, position):
        return bisect.bisect_left(self.starts, position)

    def bytes_of(self, entry):
        if entry.flags & FLAG_DISCARD:
            return bytes(entry.bytes)
        start = entry.at + SECTOR_BYTES
        return self.data[start:start + entry.bytes]

    def apply(self, disk, first, end):
        for entry in self.entries[first:end]:
            disk[entry.offset:entry.offset + entry.bytes] = self.bytes_of(entry)

    def verify(self, disk):
        """The log must be complete, or the states prove nothing."""
        with open(disk.base, "rb") as base, open(disk.content, "rb") as content:
            replayed = bytearray(base.read())
            self.apply(replayed, 0, len(self.entries))
            expect(replayed == content.read(), "the log replayed is not what the disk holds")


KINDS = ("all", "half", "one missing", "one alone", "blocks", "torn")
TRIES = 20  # for each state that is drawn


class State:
    """`flush`: log[0:flush] is there. `cut`: log[flush:cut] is there in part, as `kind` and `seed`
    say."""

    def __init__(self, flush, cut, kind, seed):
        self.flush, self.cut, self.kind, self.seed = flush, cut, kind, seed

    def __str__(self):
        return "flush %d, cut %d, %s, seed %d" % (self.flush, self.cut, self.kind, self.seed)

    def apply(self, log, disk, is_whole):
        """Makes the disk that has log[0:flush] what the power failure left. Blocks of which
        is_whole(offset, content) are never torn."""
        for i, begin, end in self.pieces(log, is_whole):
            entry = log.entries[i]
            disk[entry.offset + begin:entry.offset + end] = log.bytes_of(entry)[begin:end]

    def pieces(self, log, is_whole):
        """(i, begin, end): what of log[flush:cut] is there, bytes begin to end of entry i."""
        draw = random.Random(self.seed)
        odd = self.flush + draw.randrange(self.cut - self.flush) if self.cut > self.flush else None
        for i in range(self.flush, self.cut):
            entry = log.entries[i]
            if self.kind in ("blocks", "torn"):
                yield from self.parts(i, log, draw, is_whole)
            elif self.kind == "all" or (self.kind == "half" and draw.random() < 0.5) or \
                    (self.kind == "one missing" and i != odd) or (self.kind == "one alone" and i == odd):
                yield i, 0, entry.bytes

    def parts(self, i, log, draw, is_whole):
        entry, data = log.entries[i], log.bytes_of(log.entries[i])
        begin = 0
        while begin < entry.bytes:
            offset = entry.offset + begin
            end = min(begin + BLOCK_BYTES - offset % BLOCK_BYTES, entry.bytes)
            is_torn = self.kind == "torn" and not is_whole(offset, data[begin:end])
            for at in range(begin, end, SECTOR_BYTES if is_torn else BLOCK_BYTES):
                if draw.random() < 0.5:
                    yield i, at, min(at + SECTOR_BYTES, end) if is_torn else end
            begin = end


class Draw:
    """Draws states, no two alike."""

    def __init__(self, log, is_whole, seed):
        self.log, self.is_whole = log, is_whole
        self.random = random.Random(seed)
        self.drawn, self.known = [], set()

    def add(self, state):
        pieces = frozenset(state.pieces(self.log, self.is_whole))
        if (state.flush, pieces) not in self.known:
            self.known.add((state.flush, pieces))
            self.drawn.append(state)

    def add_many(self, windows, count):
        """Up to half of them as a flush left the disk (every flush, if there are no more), the
        others with parts of what came after one; fewer, if there are not so many."""
        end = len(self.drawn) + count
        for flush, _ in self.random.sample(windows, min(len(windows), count // 2)):
            self.add(State(flush, flush, "prefix", 0))
        for number in range(TRIES * count):
            if len(self.drawn) < end:
                flush, last = self.random.choice(windows)
                cut = last if self.random.random() < 0.5 else self.random.randint(flush + 1, last)
                self.add(State(flush, cut, KINDS[number % len(KINDS)], self.random.getrandbits(32)))


def states(log, first, count, seed, is_whole, spans=()):
    """`count` states after log[0:first], or some fewer, no two alike, in the order of their
    flushes; three of four, if there are so many, of the entries in `spans`."""
    draw = Draw(log, is_whole, seed)
    flushes = [i + 1 for i in log.flushes if i + 1 >= first]
    windows = [(flush, end - 1) for flush, end in zip(flushes, flushes[1:] + [len(log.entries) + 1])]
    windows = [(flush, end) for flush, end in windows if end > flush]
    expect(windows, "nothing was written after the beginning")
    busy = [(flush, end) for flush, end in windows if any(begin < end and flush < last for begin, last in spans)]
    if busy:
        draw.add_many(busy, count * 3 // 4)
    draw.add_many(windows, count - len(draw.drawn))
    return sorted(draw.drawn, key=lambda state: (state.flush, state.cut))
