#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""What deleting a snapshot costs: 1 GiB of an image is merged into the one beneath it.

usage: merge.py [ROUNDS] [MIB]    (default: 5 rounds, 1024 MiB)

A disk of twice that size, two frozen images and a top. The upper frozen image has the data in one
piece, or in every other 64 KiB; the first group is deleted. The time is that from the call to the
end of the job, which includes that all is durable. qemu-storage-daemon does the same in turn, by
block-commit of the middle image, and then fdatasync of the lower one. Meanwhile a client writes
4 KiB 500 times a second to the disk; its latency counts from when a write was due. It writes for a
second before as well. Images are qcow2 with extended L2, in the page cache. Prints the machine,
the rates, and the client's latencies in ms: alone, and during the merge.
"""
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import nbd  # noqa: E402
from peers import arguments  # noqa: E402
from qsdgroups import Monitor  # noqa: E402
from snapgroupd import Daemon, run, wait_until  # noqa: E402

MIB = 1 << 20
PIECE = 64 << 10
SHAPES = ("one piece", "every other 64 KiB")
WRITES_A_SECOND = 500


class Writer(threading.Thread):
    """Writes on a schedule until it is stopped; `latencies` in ms."""

    def __init__(self, uri):
        super().__init__()
        self.handle = nbd.NBD()
        self.handle.connect_uri(uri)
        self.is_over = threading.Event()
        self.latencies = []

    def run(self):
        due, data = time.monotonic(), b"w" * 4096
        while not self.is_over.is_set():
            due += 1 / WRITES_A_SECOND
            time.sleep(max(0, due - time.monotonic()))
            self.handle.pwrite(data, len(self.latencies) * 4096 % (64 * MIB))
            self.latencies.append((time.monotonic() - due) * 1000)

    def stop(self):
        self.is_over.set()
        self.join()
        self.handle.shutdown()
        return self.latencies


def fill(uri, shape, mib):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    data = os.urandom(MIB)
    step = 1 if shape == SHAPES[0] else 2
    for number in range(mib * MIB // PIECE):
        handle.pwrite(data[:PIECE], number * step * PIECE)
    handle.flush()
    handle.shutdown()


def measured(uri, work):
    """Rate-independent: the seconds of work(), and the latencies before and during it."""
    writer = Writer(uri)
    writer.start()
    time.sleep(1)
    alone = len(writer.latencies)
    begun = time.monotonic()
    work()
    seconds = time.monotonic() - begun
    latencies = writer.stop()
    return seconds, latencies[:alone], latencies[alone:]


def ours(_, shape, mib):
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("d", "qcow2", 2 * mib * MIB)
        daemon.snapshot("one", ["d"])
        fill(daemon.nbd_uri("d"), shape, mib)
        daemon.snapshot("two", ["d"])

        def work():
            path = "/jobs/" + daemon.request("DELETE", "/snapshot-groups/one").body["id"]
            wait_until(lambda: daemon.get(path)["state"] == "done", "the job")
        return measured(daemon.nbd_uri("d"), work)


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


def theirs(directory, shape, mib):
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
                result = measured(peer.uri(), work)
            monitor.close()
        finally:
            process.terminate()
            process.wait()
    return result


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main():
    rounds, mib = arguments(1024, "%d MiB")
    for shape in SHAPES:
        sides = {"snapgroupd": [], "qemu": []}
        for _ in range(rounds):
            for name, side in (("snapgroupd", ours), ("qemu", theirs)):
                with tempfile.TemporaryDirectory() as directory:
                    sides[name].append(side(directory, shape, mib))
        for name, results in sides.items():
            rate = statistics.median(mib / seconds for seconds, _, _ in results)
            texts = ["%s: %s" % (when, ", ".join("%s %.2f" % (what, statistics.median(of(result[part]) for result in results))
                                                 for what, of in (("p50", statistics.median),
                                                                  ("p99", lambda values: percentile(values, 0.99)),
                                                                  ("max", max))))
                     for part, when in ((1, "alone"), (2, "during"))]
            print("%-18s %-10s %6.0f MiB/s; %s" % (shape, name, rate, "; ".join(texts)), flush=True)


if __name__ == "__main__":
    main()
