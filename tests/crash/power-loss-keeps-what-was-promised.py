#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Clients write, flush and take groups on a disk that records what reaches it in which order; then
# disks that a power failure could have left are recovered by the daemon, and everything that was
# promised by then is there: flushed writes, groups, devices. This is the short form;
# power-loss-at-every-flush.py takes the long way.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from powerloss import expect_no_losses
from snapgroupd import main

own_mounts()
main(lambda: expect_no_losses(40))
