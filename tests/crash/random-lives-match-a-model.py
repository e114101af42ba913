#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Lives of disks at random: attached, written, frozen in groups, rolled back, cloned, deleted,
# detached and attached again, over trees of up to 12 images; also two calls at once, and with the
# daemon killed in and between calls. Devices and groups that are left always read as a model of
# flat content has them, show what it knows, refuse what it forbids, and leave the files that it
# expects. A failure prints its seed and its steps. SEED, FIRST, LIVES and KIND (0: alone, 1: kills,
# 2: two at once) repeat a part, but for what depends on time. Many more lives, without clients, are
# those of unit/service/random-lives-match-flat-files.
import os
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from livecourse import live, templates_make
from runtimes import use_memory
from snapgroupd import Daemon, is_sanitized, main

SEED = os.environ.get("SEED", "12")
FIRST = int(os.environ.get("FIRST", "1"))
LIVES = int(os.environ.get("LIVES", "9" if is_sanitized() else "42"))
STEPS = int(os.environ.get("STEPS", "20"))
LIVES_EACH = 200  # of one daemon, whose history grows


def course(daemon, number, templates):
    """A third has kills, a third has calls at once; some are read by their paths in the end."""
    kind = int(os.environ.get("KIND", number % 3))
    return live(daemon, "%s-%d" % (SEED, number), templates, STEPS, kills=0.08 if kind == 1 else 0,
                pairs=0.2 if kind == 2 else 0, by_path=number % 20 == 0)


def test():
    began, counts = time.monotonic(), {}
    use_memory()
    with tempfile.TemporaryDirectory(prefix="sg.") as directory:
        templates = templates_make(directory)
        for first in range(FIRST, FIRST + LIVES, LIVES_EACH):
            with Daemon() as daemon:
                daemon.start()
                for number in range(first, min(first + LIVES_EACH, FIRST + LIVES)):
                    for what, count in course(daemon, number, templates).counts.items():
                        counts[what] = counts.get(what, 0) + count
    for what in sorted(counts):
        print("%8d %s" % (counts[what], what))
    print("%d lives in %.1f s" % (LIVES, time.monotonic() - began))


main(test)
