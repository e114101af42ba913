#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The dependent-write test detects a cut that is made member by member. Two builds arm the members
# 2 ms apart: with the one store of snapgroupd-slow-arming no snapshot is torn, in
# snapgroupd-cut-by-member nearly all are, and on busy processors some.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from dependent import torn_snapshots
from snapgroupd import BUILD_DIR, expect, main

GROUPS = 10


def torn_by(executable):
    return torn_snapshots(os.path.join(BUILD_DIR, "tests", executable), GROUPS)


def test():
    torn = torn_by("snapgroupd-slow-arming")
    expect(not torn, "torn by one store: %s", torn)
    torn = torn_by("snapgroupd-cut-by-member")
    expect(torn, "none of %d snapshots is torn by a cut of each member", GROUPS)


main(test)
