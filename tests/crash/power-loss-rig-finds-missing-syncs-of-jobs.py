#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 3600
#
# The power-loss rounds of tests/lib/powerlife.py detect deletions that do not sync what they merge,
# nor the headers that name another file then: what the devices and groups held is lost.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from powerlife import DeleteWork
from powerloss import power_losses
from snapgroupd import BUILD_DIR, expect, main

STATES = 18  # of a round
ROUNDS_MAX = 10
EXT4_WITH_ROOM = 0  # the seed of such a round; 60 further on it is the same


def test():
    kinds = []
    for i in range(ROUNDS_MAX):
        losses = power_losses(STATES, EXT4_WITH_ROOM + 60 * i, executable=os.path.join(
            BUILD_DIR, "tests", "snapgroupd-lost-syncs"), environment={"LOST_SYNCS": "jobs"}, kind=DeleteWork)
        kinds += [kind for kind, _ in losses]
        if any(kind in ("images", "groups", "devices", "views") for kind in kinds):
            return
    expect(False, "in %d rounds of %d states these were lost: %s", ROUNDS_MAX, STATES, kinds)


own_mounts()
main(test)
