#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 3600
#
# 16 disks with 8 connections each, 6 callers whose groups overlap, a disk that comes and goes, and
# a daemon that is killed every STORM_S seconds (default 10), STORM_KILLS times (default 10): what
# was acknowledged is there, and what is frozen is what it was to be, and stays so. Then the same
# with a daemon in which each change takes some milliseconds.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import main
from storm import storms

main(lambda: storms(disks=16, connections=8, takers=6, rounds=int(os.environ.get("STORM_KILLS", "10")) + 1,
                    seconds=float(os.environ.get("STORM_S", "10"))))
