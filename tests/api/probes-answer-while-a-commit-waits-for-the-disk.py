#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Probes are answered at once while changes wait for a disk whose syncs take seconds (strace delays
# them).
import os
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, is_sanitized, main, wait_until

SYNC_S = 2
LATE_S = SYNC_S if is_sanitized() else SYNC_S / 2  # one that waits for a sync is later
PROBES = ("/livez", "/readyz", "/openapi.yaml")


def is_traced(daemon, tracer):
    if tracer.poll() is not None:
        sys.exit(77)  # not allowed here
    with open("/proc/%d/status" % daemon.pid) as status:
        return "TracerPid:\t0\n" not in status.read()


def test():
    # LeakSanitizer cannot look into a traced process.
    asan = os.environ.get("ASAN_OPTIONS", "halt_on_error=1:exitcode=99") + ":detect_leaks=0"
    with Daemon(environment={"ASAN_OPTIONS": asan}) as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(daemon.pid), "-e", "trace=fsync,fdatasync",
             "-e", "inject=fsync,fdatasync:delay_enter=%d" % (SYNC_S * 1000000)])
        wait_until(lambda: is_traced(daemon, tracer), "strace attaches")
        change = threading.Thread(target=daemon.snapshot, args=("g", ["vda"]))
        change.start()
        slowest = 0
        while change.is_alive():
            for path in PROBES:
                start = time.monotonic()
                expect(daemon.request("GET", path).status == 200, "%s: not 200", path)
                slowest = max(slowest, time.monotonic() - start)
        change.join()
        tracer.terminate()
        tracer.wait()
        expect(slowest < LATE_S, "a probe took %.1f s while a sync took %d s", slowest, SYNC_S)
        expect(daemon.get("/snapshot-groups/g")["state"] == "committed", "the group was not taken")


main(test)
