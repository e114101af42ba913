#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The test of unaligned writes detects that a write copies from below while another one is under way
# there: in a daemon that lets it (rule R3 of the cut is dropped) an acknowledged sector is soon
# gone.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from dependent import CHAIN
from snapgroupd import Failure, expect, main
from unaligned import LOST, slow_daemon, take_batch

BATCHES = 8  # one or two cuts of ten are enough


def lost_in(daemon):
    for batch in range(BATCHES):
        try:
            take_batch(daemon, range(batch * CHAIN, (batch + 1) * CHAIN))
        except Failure as failure:
            return str(failure)
    return None


def test():
    with slow_daemon("R3") as daemon:
        daemon.start()
        lost = lost_in(daemon)
        print(lost)
        expect(lost and LOST in lost, "no sector is lost, but: %s", lost)
        daemon.kill()


main(test)
