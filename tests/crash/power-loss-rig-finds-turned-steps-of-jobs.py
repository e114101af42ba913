#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# The power-loss rounds of tests/lib/powerlife.py detect deletions that do two steps of a merge, or
# of a collapse, the other way round (tests/lib/seams/turned-steps.c): what devices or groups held
# is lost, or the job cannot go on. TURNED_STEPS names some of them.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from powerlife import CollapseWork, DeleteWork
from powerloss import power_losses
from snapgroupd import BUILD_DIR, expect, main

STATES = 60  # of a round
ROUNDS_MAX = 10
EXT4_WITH_ROOM = 30  # the seed of such a round on two file systems; 60 further on it is the same
TURNED = os.environ.get("TURNED_STEPS", "copied headers redirected mask twin marked flushes").split()
OF_COLLAPSES = ("twin", "marked", "flushes")


class SlowDeleteWork(DeleteWork):
    """A quick job would repair what is wrong before anybody reads it."""
    slow_deletions = 1


class QuickCollapseWork(CollapseWork):
    """Only the moment of the row counts."""
    slow_deletions = 0


def expect_found(step):
    kind = QuickCollapseWork if step in OF_COLLAPSES else SlowDeleteWork
    print("turned round: %s" % step)
    for i in range(ROUNDS_MAX):
        if power_losses(STATES, EXT4_WITH_ROOM + 60 * i, executable=os.path.join(
                BUILD_DIR, "tests", "snapgroupd-turned-steps"), environment={"TURNED_STEP": step}, kind=kind):
            return
    expect(False, "%d rounds of %d states found nothing", ROUNDS_MAX, STATES)


own_mounts()
main(lambda: [expect_found(step) for step in TURNED])
