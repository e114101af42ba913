#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""REST over a kept-alive connection on loopback, with wrk, and what it takes from NBD.

usage: rest.py [ROUNDS [SECONDS]]    (default: 5 rounds of 3 s)

100 devices. In each round every job runs once: wrk with one thread and 64 connections, for requests
a second and the 99th percentile. GET /livez reads no state: it is what the server, wrk and this
machine can do at all, and the ratio to it is what counts between machines.

Then fio writes and reads 8 disks over NBD at once, alternately alone and beside 500 requests a
second of GET /devices/NAME: the ratio of NBD's throughput.
"""
import os
import re
import statistics
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from peers import arguments, fio  # noqa: E402
from snapgroupd import Daemon, run  # noqa: E402

DEVICES = 100
BUSY = 8
REQUESTS_A_SECOND = 500
JOBS = ("/livez", "/devices", "/devices/d5", "/devices?limit=10")
UNITS_MS = {"us": 1e-3, "ms": 1, "s": 1e3}


def wrk(daemon, token, path, seconds):
    """(requests a second, 99th percentile in ms)"""
    said = run("wrk", "-t1", "-c64", "-d%d" % seconds, "--latency", "-H", "Authorization: Bearer " + token,
               "http://127.0.0.1:%d%s" % (daemon.port, path))
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit("%s: %s" % (path, said))
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", said).groups()
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1)), float(number) * UNITS_MS[unit]


class Load(threading.Thread):
    """REQUESTS_A_SECOND over one connection, as of a schedule."""

    def __init__(self, daemon):
        super().__init__()
        self.daemon_, self.ending, self.count = daemon, threading.Event(), 0

    def run(self):
        connection = self.daemon_.connection()
        begin = time.monotonic()
        while not self.ending.is_set():
            connection.ask("GET", "/devices/d5")
            self.count += 1
            self.ending.wait(max(0, begin + self.count / REQUESTS_A_SECOND - time.monotonic()))
        connection.close()


def busy_iops(daemon, seconds, with_load):
    load = Load(daemon)
    if with_load:
        load.start()
    iops = fio([daemon.nbd_uri("d%d" % i) for i in range(BUSY)], "randrw", "4k", 4, "--runtime=%d" % seconds,
               "--time_based", "--size=64M")["iops"]
    if with_load:
        load.ending.set()
        load.join()
        print("    %.0f requests a second meanwhile" % (load.count / seconds), flush=True)
    return iops


def main():
    rounds, seconds = arguments(3, "%d s")
    with Daemon() as daemon:
        daemon.listen_on_tcp()
        daemon.start()
        token = daemon.create_token("bench", "read")
        for i in range(DEVICES):
            daemon.create_device("d%d" % i, "qcow2", 64 << 20)
        results = {path: [] for path in JOBS}
        for _ in range(rounds):
            for path in JOBS:
                results[path].append(wrk(daemon, token, path, seconds))
        most = statistics.median(rate for rate, _ in results["/livez"])
        for path, pairs in results.items():
            rate = statistics.median(rate for rate, _ in pairs)
            print("GET %-20s %8.0f requests/s   p99 %7.2f ms   %.2f of /livez" % (
                path, rate, statistics.median(late for _, late in pairs), rate / most), flush=True)
        alone, beside = [], []
        for number in range(2 * rounds):
            (beside if number % 2 else alone).append(busy_iops(daemon, seconds, number % 2))
        ratio = statistics.median(beside) / statistics.median(alone)
        print("NBD, %d disks: %.0f IOPS alone, %.0f beside REST: %.3f" % (
            BUSY, statistics.median(alone), statistics.median(beside), ratio))


main()
