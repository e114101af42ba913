#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Clients write, flush and take groups on a disk that records the order of all writes; then the
# daemon recovers disks that a power failure could have left, and every promise made until then
# holds: flushed writes, groups, devices. This is the short form of power-loss-at-every-flush.py.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from powerloss import expect_no_losses
from snapgroupd import main

own_mounts()
main(lambda: expect_no_losses(40))
