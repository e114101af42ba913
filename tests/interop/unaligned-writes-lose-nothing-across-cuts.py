#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Clients write single sectors whose neighbours, which others write, are copied from below at the
# same time; in each of 50 group snapshots taken meanwhile, and in the live disks, every
# acknowledged sector is there, and no frozen disk is torn or ever changes. In every other batch
# each write takes some milliseconds, so that some are in flight at every cut.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from dependent import batches
from snapgroupd import Daemon, main
from unaligned import slow_daemon, take_batch


def test():
    for number, batch in enumerate(batches(50)):
        with slow_daemon() if number % 2 else Daemon() as daemon:
            daemon.start()
            take_batch(daemon, batch)


main(test)
