#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
#
# 64 clients at once take groups of 4 disks that overlap for 60 s: each is committed or DeviceInUse,
# and no file, descriptor or memory is left over.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from groupload import ENVIRONMENT, load
from snapgroupd import Daemon, main


def test():
    with Daemon(environment=ENVIRONMENT) as daemon:
        daemon.start()
        load(daemon, turns=12, phases=1000, seconds=60)


main(test)
