#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""The cost of changed extents of a disk of 1 TiB that is fully allocated, in clusters of 64 KiB.

usage: extents.py [ROUNDS]    (default: 3 rounds)

Images are qemu-img's with preallocated metadata; their L2 tables are then changed by hand:

    in order   clusters lie in the file in the order of the disk
    reversed   each table's clusters lie in reverse, so that no two are neighbours in the file
    extended   extended L2 (subclusters), all of them allocated, in reverse

Each is an overlay on an empty disk, and a group's member; the older group's member is that disk. In
each round the daemon is new, and is asked once over REST (all pages; with `since` and without) and
once over NBD (nbdinfo --map of the dirty bitmap). qemu-nbd's allocation of the file that is in
order is mapped in turn, for a ratio; of the others it takes minutes, an extent for each cluster.
Files are in the page cache. Prints the machine, and the medians. The target is 2 s over REST.
"""
import array
import os
import platform
import statistics
import struct
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from peers import Peer  # noqa: E402
from snapgroupd import Daemon, expect, run  # noqa: E402

SIZE_BYTES = 1 << 40
TABLE_BYTES = 64 << 10
KINDS = ("in order", "reversed", "extended")
ALL_SUBCLUSTERS = 0xffffffff


def tables_of(image):
    """The offsets of its L2 tables."""
    header = image.read(48)
    entries, offset = struct.unpack(">I", header[36:40])[0], struct.unpack(">Q", header[40:48])[0]
    image.seek(offset)
    return [word & 0x00fffffffffffe00 for word in struct.unpack(">%dQ" % entries, image.read(8 * entries))]


def make_image(path, kind, backing):
    extended = kind == "extended"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o",
        "preallocation=metadata,cluster_size=64k,extended_l2=%s" % ("on" if extended else "off"), path, str(SIZE_BYTES))
    with open(path, "r+b") as image:
        for offset in tables_of(image) if kind != "in order" else ():
            image.seek(offset)
            words = array.array("Q", image.read(TABLE_BYTES))
            step = 2 if extended else 1
            words[::step] = words[::step][::-1]
            if extended:
                words[1::2] = array.array("Q", struct.pack(">Q", ALL_SUBCLUSTERS)) * (len(words) // 2)
            image.seek(offset)
            image.write(words.tobytes())
    run("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "qcow2", path)


def timed(call, *arguments):
    begin = time.monotonic()
    call(*arguments)
    return time.monotonic() - begin


def list_all(daemon, name, since):
    """All pages; they are one extent."""
    listed, cursor = 0, "0"
    while cursor is not None:
        page = daemon.get("/snapshot-groups/full/members/%s/extents?limit=10000&cursor=%s%s" % (name, cursor, since))
        listed += sum(item["length_bytes"] for item in page["items"])
        cursor = page["next"]
    expect(listed == SIZE_BYTES, "%d bytes are listed", listed)


def measure(daemon, kind, name, top, directory, results):
    for how, since in (("REST since", "&since=empty"), ("REST", "")):
        results.setdefault((kind, how), []).append(timed(list_all, daemon, name, since))
    uri = daemon.nbd_uri(name + "@full")
    results.setdefault((kind, "NBD since"), []).append(
        timed(run, "nbdinfo", "--map=qemu:dirty-bitmap:empty", "--totals", uri))
    if kind != "in order":
        return
    socket = os.path.join(directory, name + ".sock")
    pidfile = socket + ".pid"
    with Peer(["qemu-nbd", "--persistent", "--read-only", "-f", "qcow2", "-k", socket, "--pid-file", pidfile, top], pidfile):
        results.setdefault((kind, "qemu-nbd"), []).append(
            timed(run, "nbdinfo", "--map", "--totals", "nbd+unix:///?socket=" + socket))


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    print("%s, %d cores, %d rounds" % (platform.platform(), os.cpu_count(), rounds), flush=True)
    names = {"d%d" % i: kind for i, kind in enumerate(KINDS)}
    results = {}
    with Daemon() as daemon, tempfile.TemporaryDirectory(prefix="sg.") as directory:
        for name in names:
            run("qemu-img", "create", "-q", "-f", "qcow2", daemon.image(name + "-empty.qcow2"), str(SIZE_BYTES))
        daemon.start()
        for name in names:
            daemon.attach_device(name, name + "-empty.qcow2", "qcow2")
        daemon.snapshot("empty", list(names))
        members = daemon.get("/snapshot-groups/empty")["members"]
        daemon.stop()
        for member in members:  # the top of its device is overwritten: the file stays the same
            image = os.path.join(directory, "made.qcow2")
            make_image(image, names[member["device"]], member["backing_file"])
            run("cp", "--sparse=always", image, member["snapshot_file"])
            os.remove(image)
        daemon.start()
        daemon.snapshot("full", list(names))
        tops = {member["device"]: member["backing_file"] for member in daemon.get("/snapshot-groups/full")["members"]}
        for _ in range(rounds):
            for name, kind in names.items():
                daemon.restart()
                measure(daemon, kind, name, tops[name], directory, results)
    print("%-10s %-11s %10s" % ("", "", "seconds"))
    theirs = statistics.median(results["in order", "qemu-nbd"])
    for (kind, how), times in results.items():
        median = statistics.median(times)
        print("%-10s %-11s %10.3f  (%.3f of qemu-nbd's time in order)" % (kind, how, median, median / theirs))


main()
