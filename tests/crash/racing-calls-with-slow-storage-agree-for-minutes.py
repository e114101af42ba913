#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
#
# racing-calls-with-slow-storage-agree, for RACE_S seconds: from SEED on, a daemon each for two
# minutes.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from races import run_races
from snapgroupd import main

EACH_S = 120


def test():
    seed, left_s = int(os.environ.get("SEED", "100")), float(os.environ.get("RACE_S", "360"))
    while left_s > 0:
        run_races(seed, min(EACH_S, left_s))
        seed, left_s = seed + 1, left_s - EACH_S


main(test)
