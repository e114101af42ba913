#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: once
#
# A guest (Debian's cloud kernel in QEMU) writes, syncs and removes files on ext4 on a RAID 0 of two
# disks while 12 groups of both disks are taken. A second guest mounts every frozen pair, as after a
# crash: e2fsck finds no error, all files synced before the call are whole, and the rest is what the
# writers had done at one instant (tests/lib/guestfiles.py has the details). Neither kernel logs an
# error of a disk or a file system. A last group, with the file system unmounted, has everything.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from guestfiles import kernel_faults, look_at, write_and_freeze
from snapgroupd import Daemon, expect, main

GROUPS = 12


def test():
    with Daemon() as daemon:
        daemon.start()
        told = write_and_freeze(daemon, GROUPS)
        pairs, kernel = look_at(daemon, told)
        faults = {name: pair.faults(told[name]) for name, pair in pairs.items()}
        expect(not any(faults.values()), "%s", faults)
        expect(pairs["end"].logs == told["end"], "told %s, logs %s", told["end"], pairs["end"].logs)
        expect(not kernel_faults(kernel), "the second guest's kernel says: %s", kernel)
        replays = sum("recovery complete" in line for line in kernel)
        expect(replays == GROUPS, "%d journals were replayed, not %d", replays, GROUPS)
        pauses = [group["pause_us"] for group in daemon.list("/snapshot-groups")]
        print("%d groups, %d files checked, longest pause %d us" % (
            GROUPS, sum(len(files) for pair in pairs.values() for files in pair.files.values()), max(pauses)))


main(test)
