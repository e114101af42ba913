#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 14400
#
# 2,000 disks each that a power failure could have left while groups were rolled back to, deleted,
# and cloned from, under clients that write; tests/lib/powerlife.py tells what must hold.
# POWER_LOSS_STATES and the other variables of tests/lib/powerloss.py make it longer or shorter.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from powerlife import CloneWork, DeleteWork, RollbackWork
from powerloss import expect_no_losses
from snapgroupd import main

own_mounts()
main(lambda: [expect_no_losses(2000, kind) for kind in (RollbackWork, DeleteWork, CloneWork)])
