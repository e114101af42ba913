#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: once
#
# The power-loss tests detect missing syncs. snapgroupd-lost-syncs skips syncs and reports success:
# without those of images, flushed writes are lost; without every second one, qemu-img finds errors;
# without those of the database, it does not open, or groups and devices are lost; without those of
# the image directory, on a file system of its own, images that the database lists are lost.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from powerloss import power_losses
from snapgroupd import BUILD_DIR, expect, main

GROUPS = 2
STATES = 24  # of a round
ROUNDS_MAX = 20
# Seeds of such rounds, on ext4 with room; 60 further on it is the same.
ONE_FILE_SYSTEM, TWO_FILE_SYSTEMS = 0, 30


def expect_found(syncs, wanted, seed=ONE_FILE_SYSTEM, at_least=6):
    """Which moments a round catches is chance, so there are more rounds until one has caught what
    is missing."""
    print("without the syncs of %s:" % syncs)
    kinds = []
    for i in range(ROUNDS_MAX):
        losses = power_losses(STATES, seed + 60 * i, 1, GROUPS, os.path.join(BUILD_DIR, "tests", "snapgroupd-lost-syncs"),
                              {"LOST_SYNCS": syncs})
        kinds += [kind for kind, _ in losses]
        if len(kinds) >= at_least and any(kind in wanted for kind in kinds):
            return
    expect(False, "in %d rounds of %d states these were lost: %s", ROUNDS_MAX, STATES, kinds)


def test():
    expect_found("images", ("images", "groups", "devices"))
    expect_found("barriers", ("images",))
    expect_found("store", ("store", "groups", "devices"))
    # The next flush of an overlay saves its name too: few states are in between.
    expect_found("directories", ("groups", "devices", "files"), TWO_FILE_SYSTEMS, at_least=1)


own_mounts()
main(test)
