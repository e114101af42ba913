#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# EIO from every single file system call of a copy of a frozen member, ENOSPC from every one that
# writes, and ENOMEM from every one that takes memory, of the thread that serves the request, of the
# one that looks at the images for it and of the one that runs the job, to raw and to qcow2;
# tests/lib/copywalk.py tells what must hold.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from copywalk import copy_error_walks
from snapgroupd import main
from strace import STRIDE

main(lambda: copy_error_walks(STRIDE))
