#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Groups, rollbacks, deletes, clones, copies, new sizes, detaches and changes of jobs that race for
# the same devices, on storage whose calls are delayed at random, while clients write and read, and
# with SIGKILL and SIGTERM in between. After each race every byte is one that some order of the
# calls explains; what is frozen never changes; no call fails or hangs; in the end there is no file
# too many or too few, and qemu-img finds no error. A failure prints its seed and calls; SEED and
# RACE_S repeat it, but for what depends on time. SLOW_CALLS: see lib/seams/slow-calls.c.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from races import run_races
from snapgroupd import main

main(lambda: run_races(int(os.environ.get("SEED", "11")), float(os.environ.get("RACE_S", "4"))))
