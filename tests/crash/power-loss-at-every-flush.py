#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# The long form of power-loss-keeps-what-was-promised.py: 5,000 disks that a power failure could
# have left, among them one for every flush of every round. POWER_LOSS_STATES and the other
# variables of tests/lib/powerloss.py make it longer or shorter.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from powerloss import expect_no_losses
from snapgroupd import main

own_mounts()
main(lambda: expect_no_losses(5000))
