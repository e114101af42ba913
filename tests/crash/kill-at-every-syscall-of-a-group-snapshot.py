#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Three disks with different formats, each with a client that writes and flushes all the time; POST
# /snapshot-groups is killed at every system call of its two threads, and of the thread that
# finishes a member after the cut while the others are settled. After every kill qemu-img finds no
# error in any image; after every restart
#   - the group is committed as a whole or aborted as a whole, and committed if the client got a
#     201;
#   - the image directory has the files of committed groups and no others;
#   - every disk's chain consists of these files;
#   - every acknowledged number, flushed or not, is on the disk and, if it was acknowledged before
#     the call, in the frozen member.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import GatedDaemon
from groupwalk import GroupWalk
from killwalk import ask_and_kill_at, kill_walk, kill_walks
from snapgroupd import expect, main
from strace import run_by, served_by


def test():
    with GatedDaemon() as daemon:
        snapshots = GroupWalk(daemon)
        steps = kill_walks(daemon, 201, snapshots, served_by, run_by)
        kill_walk(daemon, 201, snapshots, first_step=steps, ask=ask_and_kill_at("seal-vdb", "group-finish"))
        snapshots.end()
        expect(snapshots.committed > 0, "no group was committed")
        print("%d groups committed" % snapshots.committed)


main(test)
