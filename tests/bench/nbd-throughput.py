#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""NBD throughput against qemu-storage-daemon (aio=threads and aio=io_uring), alternately, on this machine.

usage: nbd-throughput.py [ROUNDS [SECONDS]]    (defaults: 5 rounds, 3 seconds a job)

One qcow2 disk of 2 GiB, written full once for each server, one connection over a Unix socket, fio's nbd engine. In
every round each job runs once against each server, one server after the other. Prints the machine, the medians, the
ratio to the better of QSD's two modes, and the server's CPU time per operation. Only ratios of one run count.
"""
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, run, wait_until  # noqa: E402

SIZE_BYTES = 2 << 30
JOBS = [("randread", "4k", 32), ("randread", "4k", 1), ("randwrite", "4k", 32), ("randwrite", "4k", 1),
        ("read", "1M", 8), ("write", "1M", 8)]


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid) as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_kib(pid):
    with open("/proc/%d/status" % pid) as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


class Server:
    """uri and pid of a server whose disk is full."""

    def __init__(self, name, uri, pid):
        self.name, self.uri, self.pid = name, uri, pid
        self.results = {}
        run("fio", "--name=fill", "--ioengine=nbd", "--uri=" + uri, "--rw=write", "--bs=1M",
            "--iodepth=8", "--size=%d" % SIZE_BYTES, "--end_fsync=1")

    def measure(self, job, seconds):
        rw, bs, depth = job
        before = cpu_seconds(self.pid)
        said = run("fio", "--name=job", "--ioengine=nbd", "--uri=" + self.uri, "--rw=" + rw, "--bs=" + bs,
                   "--iodepth=%d" % depth, "--size=%d" % SIZE_BYTES, "--runtime=%d" % seconds,
                   "--time_based", "--output-format=json")
        report = json.loads(said[said.index("{"):])["jobs"][0]
        side = report["read" if "read" in rw else "write"]
        self.results.setdefault(job, []).append(
            (side["iops"], (cpu_seconds(self.pid) - before) / max(side["total_ios"], 1) * 1e6))

    def median(self, job):
        return [statistics.median(values) for values in zip(*self.results[job])]


def qsd(directory, mode):
    image = os.path.join(directory, mode + ".qcow2")
    socket_path = os.path.join(directory, mode)
    run("qemu-img", "create", "-q", "-f", "qcow2", image, str(SIZE_BYTES))
    process = subprocess.Popen(
        ["qemu-storage-daemon", "--blockdev",
         "driver=qcow2,node-name=n,file.driver=file,file.aio=%s,file.filename=%s" % (mode, image),
         "--nbd-server", "addr.type=unix,addr.path=" + socket_path,
         "--export", "type=nbd,id=e,node-name=n,name=d,writable=on"])
    wait_until(lambda: os.path.exists(socket_path), "qemu-storage-daemon serves")
    return process, "nbd+unix:///d?socket=" + socket_path


def report(servers):
    ours, threads, uring = servers
    print("%-10s %-3s %-5s %12s %12s %12s %7s   %s" % ("job", "bs", "depth", "snapgroupd", "qsd threads",
                                                      "qsd uring", "ratio", "CPU us/op (same order)"))
    for job in JOBS:
        rows = [server.median(job) for server in (ours, threads, uring)]
        print("%-10s %-3s %-5d %12.0f %12.0f %12.0f %7.2f   %.1f %.1f %.1f" % (
            *job, *(row[0] for row in rows), rows[0][0] / max(rows[1][0], rows[2][0]),
            *(row[1] for row in rows)))
    print("resident KiB: " + ", ".join("%s %d" % (s.name, resident_kib(s.pid)) for s in servers))


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    print("%s, %d cores, %d rounds of %d s, IOPS" % (platform.platform(), os.cpu_count(), rounds, seconds))
    processes = []
    with Daemon() as daemon, tempfile.TemporaryDirectory(prefix="sg.") as directory:
        try:
            daemon.start()
            daemon.create_device("d", "qcow2", SIZE_BYTES)
            servers = [Server("snapgroupd", daemon.nbd_uri("d"), daemon.pid)]
            for mode in ("threads", "io_uring"):
                process, uri = qsd(directory, mode)
                processes.append(process)
                servers.append(Server("qsd " + mode, uri, process.pid))
            for _ in range(rounds):
                for job in JOBS:
                    for server in servers:
                        server.measure(job, seconds)
            report(servers)
        finally:
            for process in processes:
                process.terminate()
                process.wait()


main()
