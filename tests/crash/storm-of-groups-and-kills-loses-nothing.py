#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# 4 disks with 4 connections each, 3 callers whose groups overlap, a disk that comes and goes, and a
# daemon that is killed: what was acknowledged is there, and what is frozen is what it was to be,
# and stays so. In a second daemon each change takes some milliseconds, so that some are in flight
# at every cut. The short form of storm-of-sixteen-disks-loses-nothing.py.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import main
from storm import storms

main(lambda: storms(disks=4, connections=4, takers=3, rounds=3, seconds=1.0))
