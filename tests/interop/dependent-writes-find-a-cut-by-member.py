#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The dependent-write test detects a cut that is made member by member. With the one store of
# snapgroupd-slow-arming, which arms the members 2 ms apart, no snapshot is torn. In
# snapgroupd-cut-by-member the first disk is cut, then each disk is written to twice, then the
# others are cut: that snapshot is torn.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from dependent import DISKS, frozen_numbers, is_consecutive, torn_snapshots, written_disks
from gates import snapshot_around
from snapgroupd import BUILD_DIR, Daemon, expect, main

GROUPS = 10


def built(name):
    return os.path.join(BUILD_DIR, "tests", name)


def cut_around_writes(daemon):
    """The numbers in the frozen members."""
    names, client = written_disks(daemon)
    client.await_number(2 * DISKS)
    with snapshot_around(daemon, "g", names):
        client.await_number(client.number + 2 * DISKS)
    client.stop()
    return frozen_numbers(daemon, names, "g")


def test():
    torn = torn_snapshots(built("snapgroupd-slow-arming"), GROUPS)
    expect(not torn, "torn by one store: %s", torn)
    with Daemon(built("snapgroupd-cut-by-member")) as daemon:
        daemon.environment["ARM_GATE"] = os.path.join(daemon.directory, "gate")
        daemon.start()
        numbers = cut_around_writes(daemon)
        expect(not is_consecutive(numbers), "not torn by a cut of each member: %s", numbers)


main(test)
