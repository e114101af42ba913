#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""What deleting a snapshot costs: 1 GiB of an image is merged into the one beneath it.

usage: merge.py [ROUNDS] [MIB]    (default: 5 rounds, 1024 MiB)

A disk of twice that size, two frozen images and a top. The upper frozen image has the data in one
piece, or in every other 64 KiB; the first group is deleted. The time is that from the call to the
end of the job, which includes that all is durable. qemu-storage-daemon does the same in turn, by
block-commit of the middle image, and then fdatasync of the lower one. Both sides tell when the job
has ended, by an event: a client that asks again and again takes the processor that others wait for.

Meanwhile the prober (prober.c) writes 4 KiB 500 times a second to the disk; in a second run it also
reads, as often, 4 KiB anywhere on it, on another connection. All of the disk was read before: a
merge leaves in the page cache what clients have read. The latency counts from when a request was
due. It does so for a second before as well. Images are qcow2 with extended L2, in the page cache.
Prints the machine, the rates, and the prober's latencies in ms: alone, and during the merge.

At last images without data are merged, so that a job does little but redirect the chain past one,
while the prober writes 4000 times a second. Prints how long the devices' locks were held for that,
as the daemon counts it, and by how much the longest request of such a job exceeds that of an equal
window without one: what all of the job costs a request, its syncs and the unlink included.
"""
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import nbd  # noqa: E402
from peers import arguments  # noqa: E402
from prober import Prober  # noqa: E402
from qsdgroups import Monitor  # noqa: E402
from snapgroupd import Daemon, run, wait_until  # noqa: E402

MIB = 1 << 20
PIECE = 64 << 10
SHAPES = ("one piece", "every other 64 KiB")
CLIENTS = (("write",), ("write", "read"))
PERIOD_US, REDIRECT_PERIOD_US = 2000, 250
REDIRECTS = 20


def fill(uri, shape, mib):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    data = os.urandom(MIB)
    step = 1 if shape == SHAPES[0] else 2
    for number in range(mib * MIB // PIECE):
        handle.pwrite(data[:PIECE], number * step * PIECE)
    handle.flush()
    handle.shutdown()


def read_all(uri):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    for offset in range(0, handle.get_size(), MIB):
        handle.pread(MIB, offset)
    handle.shutdown()


def measured(uri, clients, work):
    """The seconds of work(), and the prober's windows before and during it."""
    if "read" in clients:
        read_all(uri)
    with Prober([(operation, PERIOD_US, uri) for operation in clients]) as prober:
        prober.begin()
        time.sleep(1)
        alone = prober.end()
        prober.begin()
        begun = time.monotonic()
        work()
        seconds = time.monotonic() - begun
        return seconds, alone, prober.end()


def redirects(daemon, uri):
    """By how many ms the longest request of each job exceeds that of an equal window after it."""
    beyond = []
    daemon.snapshot("r0", ["d"])
    with Prober([("write", REDIRECT_PERIOD_US, uri)]) as prober:
        for number in range(REDIRECTS):
            daemon.snapshot("r%d" % (number + 1), ["d"])
            prober.begin()
            begun = time.monotonic()
            delete(daemon, "r%d" % number)
            seconds = time.monotonic() - begun
            during = prober.end()
            prober.begin()
            time.sleep(seconds)
            beyond.append((during.longest_us() - prober.end().longest_us()) / 1000)
    return beyond


def delete(daemon, group):
    """Returns when the job has ended, as a stream of events tells."""
    with socket.socket(socket.AF_UNIX) as events:
        events.connect(os.path.join(daemon.runtime, "api.sock"))
        events.sendall(b"GET /events?kind=job.done HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        said = events.recv(4096)
        job = daemon.request("DELETE", "/snapshot-groups/" + group).body["id"].encode()
        while job not in said:
            part = events.recv(4096)
            if not part:
                raise SystemExit("the stream of events has ended: %s" % said)
            said += part


def print_redirects():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("d", "qcow2", 64 * MIB)
        beyond = redirects(daemon, daemon.nbd_uri("d"))
        counts = dict(line.rsplit(" ", 1) for line in daemon.request("GET", "/metrics").body.splitlines() if "job_redirect" in line)
    name = "snapgroupd_job_redirect_seconds_"
    count = int(counts[name + "count"])
    print("redirect: locks held for %.0f us (mean of %d), %s of them for at most 200 us; longest request beyond an equal window: "
          "median %.2f ms, most %.2f ms" % (1e6 * float(counts[name + "sum"]) / count, count, counts[name + 'bucket{le="0.0002"}'],
                                            statistics.median(beyond), max(beyond)), flush=True)


def ours(_, shape, clients, mib):
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("d", "qcow2", 2 * mib * MIB)
        daemon.snapshot("one", ["d"])
        fill(daemon.nbd_uri("d"), shape, mib)
        daemon.snapshot("two", ["d"])

        return measured(daemon.nbd_uri("d"), clients, lambda: delete(daemon, "one"))


class QSD:
    def __init__(self, directory, size_bytes):
        self.images = [os.path.join(directory, name) for name in ("base", "middle", "top")]
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", self.images[0], str(size_bytes))
        for below, image in zip(self.images, self.images[1:]):
            run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "-b", below, "-F", "qcow2", image)
        self.nbd_socket, self.qmp_socket = os.path.join(directory, "n"), os.path.join(directory, "q")

    def command(self, depth):
        nodes = ["--chardev", "socket,path=%s,id=m,server=on,wait=off" % self.qmp_socket, "--monitor", "chardev=m"]
        for number, image in enumerate(self.images[:depth]):
            below = ',"backing":"n%d"' % (number - 1) if number else ""
            nodes += ["--blockdev", '{"driver":"qcow2","node-name":"n%d","file":{"driver":"file","filename":"%s"}%s}'
                      % (number, image, below)]
        return ["qemu-storage-daemon", *nodes, "--nbd-server", "addr.type=unix,addr.path=%s" % self.nbd_socket,
                "--export", "type=nbd,id=e,node-name=n%d,name=d,writable=on" % (depth - 1)]

    def uri(self):
        return "nbd+unix:///d?socket=" + self.nbd_socket


def theirs(directory, shape, clients, mib):
    peer = QSD(directory, 2 * mib * MIB)
    for depth in (2, 3):
        for path in (peer.nbd_socket, peer.qmp_socket):
            if os.path.exists(path):
                os.unlink(path)
        process = subprocess.Popen(peer.command(depth))
        try:
            monitor = Monitor(wait_until(lambda: os.path.exists(peer.qmp_socket) and peer.qmp_socket, "the monitor"))
            wait_until(lambda: os.path.exists(peer.nbd_socket), "the server")
            if depth == 2:
                fill(peer.uri(), shape, mib)
            else:
                def work():
                    monitor.execute("block-commit", **{"job-id": "j", "device": "n2", "top-node": "n1", "base-node": "n0",
                                                       "auto-dismiss": False})
                    monitor.finish_job("j")
                    with open(peer.images[0], "r+b") as image:
                        os.fdatasync(image.fileno())
                result = measured(peer.uri(), clients, work)
            monitor.close()
        finally:
            process.terminate()
            process.wait()
    return result


def latencies(results, part, disk):
    """Medians of the rounds. `part`: 1, alone, or 2, during; `disk`: 0, written, or 1, read."""
    return ", ".join("%s %.2f" % (what, statistics.median(result[part].disks[disk][of] / 1000 for result in results))
                     for what, of in (("p50", "p50_us"), ("p99", "p99_us"), ("max", "max_us")))


def print_merges(shape, clients, rounds, mib):
    sides = {"snapgroupd": [], "qemu": []}
    for _ in range(rounds):
        for name, side in (("snapgroupd", ours), ("qemu", theirs)):
            with tempfile.TemporaryDirectory() as directory:
                sides[name].append(side(directory, shape, clients, mib))
    for name, results in sides.items():
        rate = statistics.median(mib / seconds for seconds, _, _ in results)
        print("%-18s %-10s %6.0f MiB/s" % (shape, name, rate))
        for disk, what in enumerate(clients):
            print("    %-6s alone: %s; during: %s" % (what + "s", latencies(results, 1, disk), latencies(results, 2, disk)), flush=True)


def main():
    rounds, mib = arguments(1024, "%d MiB")
    for clients in CLIENTS:
        for shape in SHAPES:
            print_merges(shape, clients, rounds, mib)
    print_redirects()


if __name__ == "__main__":
    main()
