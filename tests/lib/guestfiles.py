# SPDX-License-Identifier: Apache-2.0
"""Files that one guest writes to ext4 on a RAID 0 of two disks while groups of both are taken, and
what a second guest finds in every frozen pair. tests/lib/guest-roles/write-files.sh tells what the
writers do, and in which order.

Every step of a writer begins only once the one before it was synced, so a pair that was frozen at
one instant holds, after the journal's replay, for each writer and one number L:

    the log       1 to L, where L is at least the last number told before the snapshot was asked for
    its files     L-KEEP+2 to L, whole to the byte
                  L-KEEP+1 and L+1 in any state, or not at all: step L+1 removes one and makes the
                  other no other

and e2fsck finds nothing to say. A pair whose disks were frozen at two instants breaks this: synced
content that is not there, an entry that leads nowhere, a journal that does not fit the blocks
around it.
"""
import functools
import hashlib
import re
import threading

from guest import GUEST_DEADLINE_S, Guest
from snapgroupd import expect

NAMES = ["vda", "vdb"]
SIZE_BYTES = 64 << 20
# As in write-files.sh.
WRITERS = 2
KEEP = 8
STEPS = 2


@functools.lru_cache(maxsize=None)
def content(writer, number):
    """The checksum of the file that the writer's step of that number writes."""
    first = writer * 10000000 + number * 20000
    lines = range(first, first + 2000 + number * 7919 % 16000 + 1)
    return hashlib.sha256("".join("%d\n" % line for line in lines).encode()).hexdigest()


def kernel_faults(lines):
    return [line for line in lines if re.search(r"error|warning|corrupt|abort|fail|inconsisten", line, re.IGNORECASE)]


class Told:
    """What the writing guest has told: the last number of each writer, and what its kernel
    found."""

    def __init__(self):
        self.changed = threading.Condition()
        self.numbers = dict.fromkeys(range(1, WRITERS + 1), 0)
        self.kernel = []

    def hear(self, line):
        word, _, rest = line.partition(" ")
        with self.changed:
            if word == "synced":
                writer, number = map(int, rest.split())
                expect(number == self.numbers[writer] + 1, "writer %d told %d after %d", writer, number,
                       self.numbers[writer])
                self.numbers[writer] = number
            elif word == "kernel":
                self.kernel.append(rest)
            self.changed.notify_all()

    def await_steps(self, steps):
        """Each writer does so many more; the numbers then."""
        with self.changed:
            wanted = {writer: number + steps for writer, number in self.numbers.items()}
            done = self.changed.wait_for(lambda: all(self.numbers[writer] >= wanted[writer] for writer in wanted),
                                         GUEST_DEADLINE_S)
            expect(done, "the guest's writers stand still at %s", self.numbers)
            return dict(self.numbers)


class Pair:
    """What the second guest found in a frozen pair."""

    def __init__(self):
        self.files = {writer: {} for writer in range(1, WRITERS + 1)}
        self.logs = dict.fromkeys(self.files, 0)
        self.broken = []

    def hear(self, word, rest):
        if word == "file":
            name, _, checksum = rest.partition(" ")
            writer, number = map(int, name.split("/"))
            self.files[writer][number] = checksum.split(" ")[0]  # none if it cannot be read
        elif word == "log":
            self.logs[int(rest.split("/")[0])] = int(rest.split()[1])
        elif word == "broken":
            self.broken.append(rest)

    def faults(self, told):
        """All that contradicts one instant, after these numbers were told."""
        found = list(self.broken)
        for writer, files in self.files.items():
            last = self.logs[writer]
            if last < told[writer]:
                found.append("writer %d told %d, its log ends at %d" % (writer, told[writer], last))
            for number in range(max(1, last - KEEP + 2), last + 1):
                if files.get(number) != content(writer, number):
                    state = "is not whole" if number in files else "is missing"
                    found.append("writer %d logged %d, file %d %s" % (writer, last, number, state))
            for number in files:
                if not last - KEEP < number <= last + 1:
                    found.append("writer %d logged %d, yet there is file %d" % (writer, last, number))
        return found


def take_group(daemon, _, name, names):
    daemon.snapshot(name, names)


def write_and_freeze(daemon, groups, freeze=take_group):
    """A guest writes; as many groups are taken, each a few steps of every writer after the one
    before, and one more, `end`, when the file system is unmounted. The numbers told before each
    group was asked for."""
    daemon.create_device("vda", "raw", SIZE_BYTES)
    daemon.create_device("vdb", "qcow2", SIZE_BYTES)
    told, before = Told(), {}
    with Guest(daemon, "write-files", dict(zip(NAMES, NAMES)), told.hear) as guest:
        guest.expect_line("ready")
        told.await_steps(KEEP + 1)  # from here on files are removed as well
        for i in range(groups):
            before["g%d" % i] = told.await_steps(STEPS)
            freeze(daemon, told, "g%d" % i, NAMES[:: 1 if i % 2 else -1])
        told.await_steps(STEPS)
        guest.tell("stop")
        guest.await_end()
    before["end"] = told.numbers
    freeze(daemon, None, "end", NAMES)
    expect(not kernel_faults(told.kernel), "the writing guest's kernel says: %s", told.kernel)
    return before


def look_at(daemon, groups):
    """A second guest's findings in each group's pair, and its kernel's words."""
    pairs, kernel = {}, []

    def hear(line):
        word, _, rest = line.partition(" ")
        if word == "pair":
            pairs[rest] = pairs["last"] = Pair()
        elif word == "kernel":
            kernel.append(rest)
        elif pairs:
            pairs["last"].hear(word, rest)

    exports = {"%s@%s" % (name, group): "%s@%s" % (name, group) for group in groups for name in NAMES}
    with Guest(daemon, "check-files", exports, hear, thrown_away=True) as guest:
        guest.await_end()
    pairs.pop("last", None)
    expect(sorted(pairs) == sorted(groups), "the second guest saw %s", sorted(pairs))
    return pairs, kernel
