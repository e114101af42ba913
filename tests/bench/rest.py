#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""REST over a kept-alive connection on loopback, with wrk, and what it takes from NBD.

usage: rest.py [ROUNDS [SECONDS]]    (default: 5 rounds of 3 s)

100 devices. In each round every job runs once, over plain HTTP and over TLS: wrk with one thread
and 64 connections, for requests a second, the 99th percentile, and the processor time of the
daemon. GET /livez reads no state: it is what the server, wrk and this machine can do at all, and
the ratio to it, of the same round, is what counts between machines.

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
from callers import serve_tls  # noqa: E402
from peers import arguments, fio  # noqa: E402
from snapgroupd import Daemon, run  # noqa: E402

DEVICES = 100
BUSY = 8
REQUESTS_A_SECOND = 500
JOBS = ("/livez", "/devices", "/devices/d5", "/devices?limit=10")
UNITS_MS = {"us": 1e-3, "ms": 1, "s": 1e3}


def bases(daemon):
    """The URIs of the listeners."""
    return {"http": "http://127.0.0.1:%d" % daemon.port,
            "https": "https://127.0.0.1:" + re.search(r"^api tls:127.0.0.1:(\d+)$", daemon.said, re.M)[1]}


def processor_us(daemon):
    with open("/proc/%d/stat" % daemon.process.pid) as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")


def wrk(daemon, token, uri, seconds):
    """(requests a second, 99th percentile in ms, us of the daemon's processor time a request)"""
    before = processor_us(daemon)
    said = run("wrk", "-t1", "-c64", "-d%d" % seconds, "--latency", "-H", "Authorization: Bearer " + token, uri)
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit("%s: %s" % (uri, said))
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", said).groups()
    return (float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1)), float(number) * UNITS_MS[unit],
            (processor_us(daemon) - before) / int(re.search(r"(\d+) requests in", said).group(1)))


def print_rates(scheme, results):
    """`results`: of each path what wrk() found, round by round."""
    for path, found in results.items():
        shares = [one[0] / most[0] for one, most in zip(found, results["/livez"])]
        rate, late, processor = (statistics.median(column) for column in zip(*found))
        print("%-5s GET %-17s %8.0f requests/s   p99 %7.2f ms   %4.0f us of processor   %.2f of /livez" % (
            scheme, path, rate, late, processor, statistics.median(shares)), flush=True)


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
        serve_tls(daemon)
        daemon.start()
        token = daemon.create_token("bench", "read")
        for i in range(DEVICES):
            daemon.create_device("d%d" % i, "qcow2", 64 << 20)
        results = {scheme: {path: [] for path in JOBS} for scheme in bases(daemon)}
        for _ in range(rounds):
            for path in JOBS:
                for scheme, base in bases(daemon).items():
                    results[scheme][path].append(wrk(daemon, token, base + path, seconds))
        for scheme in results:
            print_rates(scheme, results[scheme])
        for path in JOBS:
            halves = [tls[0] / plain[0] for tls, plain in zip(results["https"][path], results["http"][path])]
            print("https of http: GET %-17s %.2f" % (path, statistics.median(halves)), flush=True)
        alone, beside = [], []
        for number in range(2 * rounds):
            (beside if number % 2 else alone).append(busy_iops(daemon, seconds, number % 2))
        ratio = statistics.median(beside) / statistics.median(alone)
        print("NBD, %d disks: %.0f IOPS alone, %.0f beside REST: %.3f" % (
            BUSY, statistics.median(alone), statistics.median(beside), ratio))


main()
