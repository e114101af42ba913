#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The short form of errors-at-every-syscall-of-delete-clone-and-finish.py: EIO from a few calls of
# each thread.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from errorwalk import CloneErrors, FinishErrors, ResizeErrors, error_walk
from joberrors import delete_error_walks
from snapgroupd import main
from strace import STRIDE

SLOWER = 6 if STRIDE > 1 else 1  # where every call takes longer


def test():
    for hit, stride in (("jobs", 160), ("collapse", 80), ("writer", 4), ("request", 20), ("plans", 30), ("nbd", 4)):
        delete_error_walks(stride * SLOWER, [hit], [True], ["EIO"])
    error_walk(FinishErrors, ["EIO"], 6 * SLOWER, 0)
    error_walk(CloneErrors, ["EIO"], 40 * SLOWER)
    error_walk(ResizeErrors, ["EIO"], 40 * SLOWER, 1)


main(test)
