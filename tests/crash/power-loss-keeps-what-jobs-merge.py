#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The short form of power-loss-of-rollback-delete-clone-copy-and-resize.py: the first three by turns
# in one round, the last in another; copies are in power-loss-keeps-what-was-promised.py.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from powerlife import LifeWork, ResizeWork
from powerloss import expect_no_losses
from snapgroupd import main

own_mounts()
main(lambda: [expect_no_losses(18, LifeWork, 1), expect_no_losses(6, ResizeWork, 1)])
