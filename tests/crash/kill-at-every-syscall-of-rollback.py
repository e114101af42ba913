#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A rollback of three disks, whose clients write and flush until they are disconnected, is killed at
# every system call of its two threads. After every kill qemu-img finds no error in any image; after
# every restart
#   - all disks are rolled back, or none; all if the client got a 201;
#   - the image directory has the files of committed groups and no others; every disk's chain
#     consists of these;
#   - every acknowledged number, flushed or not, is in the group that keeps what was there, or else
#     on the disk; the frozen images of the group that was gone back to are as they were.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import GatedDaemon
from groupwalk import RollbackWalk
from killwalk import kill_walks
from snapgroupd import main
from strace import run_by, served_by


def test():
    with GatedDaemon() as daemon:
        rollbacks = RollbackWalk(daemon)
        kill_walks(daemon, 201, rollbacks, served_by, run_by)
        rollbacks.end()


main(test)
