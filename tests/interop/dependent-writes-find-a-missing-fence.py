#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The dependent-write test detects a missing fence. Two builds swap the tops 2 ms apart: with the
# fence of snapgroupd-slow-pivot no snapshot is torn, without one, in snapgroupd-no-fence, nearly
# all are.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from dependent import torn_snapshots
from snapgroupd import BUILD_DIR, Daemon, expect, main

GROUPS = 10


def torn_by(executable, **environment):
    with Daemon(os.path.join(BUILD_DIR, "tests", executable), environment=environment) as daemon:
        daemon.start()
        return torn_snapshots(daemon, GROUPS)


def test():
    torn = torn_by("snapgroupd-slow-pivot")
    expect(not torn, "torn behind the fence: %s", torn)
    # What has no fence has races; here they are the point.
    torn = torn_by("snapgroupd-no-fence", TSAN_OPTIONS="report_bugs=0")
    expect(len(torn) > GROUPS // 2, "only %d of %d snapshots are torn without the fence", len(torn), GROUPS)


main(test)
