#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 14400
#
# The tests that kill the daemon or make its calls fail, and the one that compares chains with a
# flat reference, run with images, state and journals on ext4, xfs and btrfs. FILE_SYSTEMS selects
# others of tests/lib/filesystems.py; KILLS, CRASH_STRIDE and CHAIN_OPERATIONS make it longer or
# shorter, as for each test alone.
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import KINDS, FileSystem, own_mounts
from snapgroupd import BUILD_DIR, SOURCE_DIR, expect, main

BYTES = 2 << 30
TESTS = ["acknowledged-writes-survive-kill", "kill-at-every-syscall-of-a-group-snapshot",
         "kill-at-every-syscall-of-create-and-detach", "errors-at-every-syscall-refuse-without-a-trace"]
COMMANDS = [os.path.join(SOURCE_DIR, "tests", "crash", name + ".py") for name in TESTS]
COMMANDS += [os.path.join(BUILD_DIR, "tests", "unit-chain-matches-flat-reference")]


def test():
    failed = []
    for kind in os.environ.get("FILE_SYSTEMS", " ".join(KINDS)).split():
        with tempfile.TemporaryDirectory(prefix="sg.") as directory, \
                FileSystem(kind, directory, os.path.join(directory, "m"), BYTES) as disk:
            for command in COMMANDS:
                print("== %s: %s" % (kind, os.path.basename(command)), flush=True)
                status = subprocess.run([command], env={**os.environ, "TMPDIR": disk.mountpoint}, check=False).returncode
                if status != 0:
                    failed.append("%s: %s ends with %d" % (kind, os.path.basename(command), status))
    expect(not failed, "%s", "; ".join(failed))


own_mounts()
main(test)
