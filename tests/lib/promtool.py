# SPDX-License-Identifier: Apache-2.0
"""Prometheus' own checker, which deploy/install-packages.sh unpacks."""
import os
import subprocess

PROMTOOL = "/var/cache/snapgroupd-tests/prometheus/usr/bin/promtool"


def promtool(*arguments, **more):
    """Runs it; AssertionError, with its output, unless it succeeds without a word of complaint."""
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False,
                          env={"HOME": os.path.dirname(PROMTOOL)}, **more)
    assert done.returncode == 0 and not done.stderr, "promtool %s: %s%s" % (" ".join(arguments), done.stdout, done.stderr)
