# SPDX-License-Identifier: Apache-2.0
"""The prober of tests/bench/prober.c: requests on a fixed schedule, each counted from when it was
due.

    with Prober([("write", 250, daemon.nbd_uri("d0"))]) as prober:
        prober.begin()
        ...
        window = prober.end()
        window.longest_us(), window.late_us, window.disks[0]["p99_us"]
"""
import json
import os
import subprocess

from snapgroupd import BUILD_DIR, expect

PROBER = os.path.join(BUILD_DIR, "tests", "bench-prober")


class Window:
    """What the prober reports of one window; `disks` are in the order of its probes."""

    def __init__(self, said):
        self.disks, self.is_real_time = said["disks"], said["real_time"]

    def longest_us(self, first=0, end=None):
        """The longest request of these disks, all by default."""
        return max(disk["max_us"] for disk in self.disks[first:end])

    @property
    def late_us(self):
        """The longest time by which the prober itself was late."""
        return max(disk["issued_late_us"] for disk in self.disks)


class Prober:
    """Probes are (operation, period in microseconds, URI)."""

    def __init__(self, probes):
        expect(os.path.exists(PROBER), "%s is not built: it needs libnbd-dev (deploy/install-packages.sh test)", PROBER)
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", PROBER] + ["%s:%d:%s" % probe for probe in probes],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self.process.stdin.close()
        status = self.process.wait()
        self.process.stdout.close()
        expect(kind or status == 0, "the prober ends with %d", status)

    def answer(self, command):
        self.process.stdin.write(command)
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        expect(line, "the prober has ended")
        return line

    def begin(self):
        self.answer(b"begin\n")

    def end(self):
        return Window(json.loads(self.answer(b"end\n")))
