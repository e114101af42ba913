#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: once
#
# The test with a guest on RAID 0 detects a cut that is made member by member.
# snapgroupd-cut-by-member cuts one disk, lets the guest make 4 more steps, and only then cuts the
# other: by then files in the first disk's journal have released their blocks on the second disk.
# Most pairs frozen so must be torn; the last one, with the file system unmounted, must not.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import snapshot_around
from guestfiles import look_at, write_and_freeze
from snapgroupd import BUILD_DIR, Daemon, expect, main

GROUPS = 3
STEPS_BETWEEN = 4


def test():
    with Daemon(os.path.join(BUILD_DIR, "tests", "snapgroupd-cut-by-member")) as daemon:
        daemon.environment["ARM_GATE"] = os.path.join(daemon.directory, "gate")

        def freeze(_, told, name, names):
            with snapshot_around(daemon, name, names):
                if name != "end":
                    told.await_steps(STEPS_BETWEEN)

        daemon.start()
        told = write_and_freeze(daemon, GROUPS, freeze)
        pairs, _ = look_at(daemon, told)
        torn = {name for name, pair in pairs.items() if pair.faults(told[name])}
        print("%d of %d pairs are torn, for example: %s" % (len(torn), GROUPS, pairs["g0"].faults(told["g0"])))
        expect(len(torn) > GROUPS // 2, "only %d of %d pairs are torn by a cut of each member", len(torn), GROUPS)
        expect("end" not in torn, "the end: %s", pairs["end"].faults(told["end"]))


main(test)
