#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# EIO from every single file system call of a rollback of four disks, then ENOSPC from every one
# that writes. After each refusal
#   - the reply is a problem, and the group is aborted or was never recorded;
#   - the directory has its old content, the images are identical to the byte, and the disks have
#     what they had;
#   - the next rollback, without a fault, succeeds.
# If the daemon tolerates the fault, all disks are rolled back, and the group has what they had. A
# device whose own image could not be synced reports it, as after a snapshot.
import os
import sys

os.environ.setdefault("CRASH_STRIDE", "3")  # 1: every call
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from errorwalk import RollbackErrors, error_walk
from snapgroupd import main


main(lambda: error_walk(RollbackErrors))
