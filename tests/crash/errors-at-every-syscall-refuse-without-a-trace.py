#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# EIO from every single file system call of POST /snapshot-groups, then ENOSPC from every one that
# writes. Two members are busy, each with a client that writes and flushes all the time; two are
# idle. After each refusal
#   - the reply is a problem, and the group is aborted or was never recorded;
#   - the directory has its old content, and the idle disks' images are identical to the byte;
#   - no client has seen an error, and every client continues;
#   - the next snapshot, without a fault, succeeds.
# If the daemon tolerates the fault, the group must be whole. If the failing call is the sync of a
# member's own image, that device must report it and stop (a failed sync is never retried, not by a
# restart either), until its image is attached anew.
import os
import sys

os.environ.setdefault("CRASH_STRIDE", "3")  # 1: every call
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from errorwalk import GroupErrors, error_walk
from snapgroupd import main


main(lambda: error_walk(GroupErrors))
