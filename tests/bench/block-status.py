#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""The cost of block status of a chain, against qemu-nbd on a copy of the chain, alternately.

usage: block-status.py [ROUNDS]    (default: 3 rounds)

Chains of 1, 10, 90 and 400 qcow2 images of 4 GiB, as qemu-img and qemu-io make them: the base has 1
MiB in every 32 MiB, each overlay 64 KiB somewhere; and an empty disk of 1 TiB, alone and under 9
overlays. In each round every job runs once against each server, over a Unix socket:

    map      nbdinfo --map              many extents an answer
    depth    nbdinfo --map=qemu:allocation-depth
    convert  qemu-img convert to null   one extent an answer, then the data
    copy     nbdcopy to null            four connections
    read     qemu-io reads 32 MiB       at a place that was not read before
    others   4 KiB writes to the deepest chain by another client, one at a time: alone, and while
             the chain is mapped again and again; p50 and p99

Prints the machine, the first round's times (nothing is known yet), the medians of the others, and
our time by qemu-nbd's. Only ratios of one run count.
"""
import contextlib
import os
import platform
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from peers import Peer  # noqa: E402
from snapgroupd import Daemon, run  # noqa: E402

GIB = 1 << 30
CHAINS = {"1": (4 * GIB, 1), "10": (4 * GIB, 10), "90": (4 * GIB, 90), "400": (4 * GIB, 400),
          "empty 1T": (1024 * GIB, 1), "empty 1T, 10": (1024 * GIB, 10)}
DEEPEST = "400"
READ_BYTES = 32 << 20
OTHERS_S = 2


def make_chain(directory, size_bytes, depth):
    """The top's path. Every image but those of an empty disk holds something."""
    os.makedirs(directory)
    place = random.Random(1)
    for i in range(depth):
        image = os.path.join(directory, "%d.qcow2" % i)
        backing = ("-u", "-b", "%d.qcow2" % (i - 1), "-F", "qcow2") if i else ()
        run("qemu-img", "create", "-q", "-f", "qcow2", *backing, image, str(size_bytes))
        if size_bytes > 4 * GIB:
            continue
        writes = [(place.randrange(size_bytes >> 16) << 16, 64 << 10)] if i else [
            (offset, 1 << 20) for offset in range(0, size_bytes, 32 << 20)]
        commands = [word for offset, length in writes for word in ("-c", "write -q -P 7 %d %d" % (offset, length))]
        run("qemu-io", "-f", "qcow2", *commands, image)
    return image


class QemuNbd(Peer):
    """qemu-nbd with one image."""

    def __init__(self, socket_path, image, *options):
        self.uri = "nbd+unix:///?socket=" + socket_path
        pidfile = socket_path + ".pid"
        super().__init__(["qemu-nbd", "--persistent", "--shared=8", "--allocation-depth", "-f", "qcow2",
                          "-k", socket_path, "--pid-file", pidfile, *options, image], pidfile)


def timed(*command):
    begin = time.monotonic()
    run(*command)
    return time.monotonic() - begin


def jobs(uri, size_bytes, number):
    """Every job's name and command; the round's number says what is read."""
    at = number * READ_BYTES * 3 % (size_bytes - READ_BYTES)
    yield "map", ("nbdinfo", "--map", uri)
    yield "depth", ("nbdinfo", "--map=qemu:allocation-depth", uri)
    yield "read", ("qemu-io", "-r", "-f", "raw", "-c", "read -q %d %d" % (at, READ_BYTES), uri)
    yield "convert", ("qemu-img", "convert", "-n", "--target-is-zero", "-f", "raw", "--target-image-opts", uri,
                      "driver=null-co,size=%d" % size_bytes)
    yield "copy", ("nbdcopy", uri, "null:")


def latencies_us(uri, seconds):
    """The times that 4 KiB writes take which are sent one by one."""
    import nbd
    handle = nbd.NBD()
    handle.connect_uri(uri)
    blocks, taken, data = handle.get_size() >> 12, [], b"x" * 4096
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.monotonic()
        handle.pwrite(data, len(taken) % blocks << 12)
        taken.append((time.monotonic() - begin) * 1e6)
    handle.shutdown()
    return sorted(taken)


def writes_beside_maps(uri, mapped):
    """p50 and p99 of the writes to `uri` while `mapped` (or nothing, if None) is mapped again and
    again."""
    ended = threading.Event()

    def map_on():
        while mapped and not ended.is_set():
            run("nbdinfo", "--map", mapped)
    mapper = threading.Thread(target=map_on)
    mapper.start()
    taken = latencies_us(uri, OTHERS_S)
    ended.set()
    mapper.join()
    return taken[len(taken) // 2], taken[len(taken) * 99 // 100]


def report_others(servers):
    """A client that maps also takes a core: beside maps of the other server the writes show how
    much that is."""
    print("%-14s %12s %12s %26s" % ("others, us", "alone", "beside maps", "beside maps of the other"))
    for server, uri in servers.items():
        other = next(servers[name] for name in servers if name != server)
        alone, beside, unrelated = (writes_beside_maps(uri, mapped) for mapped in (None, uri, other))
        for i, percentile in enumerate(("p50", "p99")):
            print("%-14s %12.0f %5.0f (%4.2f) %19.0f (%4.2f)" % (
                server + " " + percentile, alone[i], beside[i], beside[i] / alone[i],
                unrelated[i], unrelated[i] / alone[i]))


def report(results):
    print("%-14s %-8s %21s %21s %7s %7s" % ("", "", "first: ours  qemu-nbd", "later: ours  qemu-nbd", "first", "later"))
    for chain, job in dict.fromkeys((chain, job) for _, chain, job in results):
        ours, theirs = results["ours", chain, job], results["qemu", chain, job]
        later = [statistics.median(times[1:] or times) * 1e3 for times in (ours, theirs)]
        print("%-14s %-8s %9.1f ms %6.1f ms %9.1f ms %6.1f ms %7.2f %7.2f" % (
            chain, job, ours[0] * 1e3, theirs[0] * 1e3, *later, ours[0] / theirs[0], later[0] / later[1]))


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print("%s, %d cores, %d rounds; ratio: our time by qemu-nbd's" % (platform.platform(), os.cpu_count(), rounds))
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(Daemon())
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="sg."))
        daemon.start()
        uris = {}
        for i, (chain, (size_bytes, depth)) in enumerate(CHAINS.items()):
            top = make_chain(daemon.image("c%d" % i), size_bytes, depth)
            copy = shutil.copytree(os.path.dirname(top), os.path.join(directory, "c%d" % i))
            daemon.attach_device("c%d" % i, top, "qcow2")
            server = QemuNbd(os.path.join(directory, "c%d.sock" % i), os.path.join(copy, os.path.basename(top)))
            uris[chain] = {"ours": daemon.nbd_uri("c%d" % i), "qemu": stack.enter_context(server).uri}
        results = {}
        for number in range(rounds):
            for chain, servers in uris.items():
                for server, uri in servers.items():
                    for job, command in jobs(uri, CHAINS[chain][0], number):
                        results.setdefault((server, chain, job), []).append(timed(*command))
        report(results)
        report_others(uris[DEEPEST])


main()
