#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The short form of errors-at-every-syscall-of-a-copy.py: errors from a few calls.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from copywalk import copy_error_walks
from snapgroupd import main
from strace import STRIDE

SLOWER = 2 if STRIDE > 1 else 1  # where every call takes longer

main(lambda: copy_error_walks(20 * SLOWER, ["qcow2"], ["EIO", "ENOSPC"]))
