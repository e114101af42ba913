#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 14400
#
# The tests of dependent writes, of those that depend on reads, of unaligned ones, and of flushes
# and kills, with 5000 cuts each (CUTS), in place of the few for which CI has time.
import os
import subprocess
import sys

TESTS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..")
SCRIPTS = ["interop/dependent-writes-are-frozen-in-order.py", "interop/dependent-reads-are-frozen-in-order.py",
           "interop/unaligned-writes-lose-nothing-across-cuts.py", "crash/dependent-flushes-survive-kills-around-cuts.py"]

os.environ.setdefault("CUTS", "5000")
failed = [script for script in SCRIPTS if subprocess.run([os.path.join(TESTS, script)], check=False).returncode != 0]
print("failed: %s" % failed if failed else "%s cuts each" % os.environ["CUTS"])
sys.exit(1 if failed else 0)
