#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 14400
#
# 2,000 disks each that a power failure could have left while groups were rolled back to, deleted,
# cloned from and copied, and while disks grew, under clients that write and read. Some rollbacks
# disconnect these, some clones go with their files, some copies are cancelled, or paused and
# resumed; tests/lib/powerlife.py tells what must hold. POWER_LOSS_WORK names some of the six, where
# `collapse` is deletes of the only group, after which each live top is merged into its base;
# POWER_LOSS_STATES and the other variables of tests/lib/powerloss.py make it longer or shorter.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from powerlife import CloneWork, CollapseWork, CopyWork, DeleteWork, ResizeWork, RollbackWork
from powerloss import expect_no_losses
from snapgroupd import main

KINDS = {"rollback": RollbackWork, "delete": DeleteWork, "collapse": CollapseWork, "clone": CloneWork, "copy": CopyWork,
         "resize": ResizeWork}


def test():
    for name in os.environ.get("POWER_LOSS_WORK", " ".join(KINDS)).split():
        expect_no_losses(2000, KINDS[name])


own_mounts()
main(test)
