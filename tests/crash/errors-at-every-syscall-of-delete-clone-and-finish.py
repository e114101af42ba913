#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 14400
#
# EIO from every single file system call, ENOSPC from every one that writes, and ENOMEM from every
# one that takes memory:
#   - of the threads that serve a DELETE of a group, run its job, with what merges live tops at its
#     end, look at images for both, and serve an NBD client meanwhile (tests/lib/joberrors.py tells
#     what must hold);
#   - of the thread that clones a member: the clone is whole, or there is nothing of it;
#   - of the thread that lets a disk grow: it has its old size, and nothing is left, or the new one;
#   - of the thread that finishes a member after the cut: its group is committed all the same;
#   - ENOMEM, of the thread that takes a group or rolls one back, as in the tests of those.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from errorwalk import CALLS, CloneErrors, FinishErrors, FinishRawErrors, GroupErrors, ResizeErrors, RollbackErrors, error_walk
from joberrors import delete_error_walks
from snapgroupd import main
from strace import STRIDE


def test():
    for kind in (FinishErrors, FinishRawErrors):
        error_walk(kind, CALLS, refusals_min=0)
    error_walk(CloneErrors, CALLS)
    error_walk(ResizeErrors, CALLS)
    for kind in (GroupErrors, RollbackErrors):
        error_walk(kind, ["ENOMEM"])
    delete_error_walks(STRIDE)


main(test)
