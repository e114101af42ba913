#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A client writes number k to disk k mod 8, each after k-1 was acknowledged; in each of 100 group
# snapshots taken meanwhile, 25 with a sanitizer, the 8 latest numbers are consecutive.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from dependent import torn_snapshots
from snapgroupd import SNAPGROUPD, expect, is_sanitized, main


def test():
    torn = torn_snapshots(SNAPGROUPD, 25 if is_sanitized() else 100)
    expect(not torn, "torn: %s", torn)


main(test)
