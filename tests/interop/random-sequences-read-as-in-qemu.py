#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 600
#
# Requests and group snapshots at random, the same ones to snapgroupd and to qemu-storage-daemon, on
# copies of the same images: raw ones, and qcow2 of all cluster sizes, with subclusters, compressed
# clusters and content beneath. Each read, each frozen disk and each active one is the same in both,
# and is what a flat model has. Then the chains change places: each program goes on with that which
# the other one made. qemu-img finds no error in any image.
#
# SEQUENCES says how many [10, 3 with a sanitizer]; SEED=N SEQUENCES=1 repeats number N. What was
# trimmed reads as zeros or as before until it is written again, in each program as it likes.
import os
import random
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import nbd  # noqa: E402
from qemutwin import Twin  # noqa: E402
from snapgroupd import Daemon, expect, group_body, is_sanitized, main, qcow2_check, run  # noqa: E402

SEED = int(os.environ.get("SEED", "1"))
SEQUENCES = int(os.environ.get("SEQUENCES", "3" if is_sanitized() else "10"))
NAMES = ("vda", "vdb")
STEPS = 24
STEPS_SWAPPED = 8
BLOCK = 4096
SWEEP = 50  # sequences, after which the daemon begins anew


class Flat:
    """What a disk holds; `loose` says where it may read as zeros instead."""

    def __init__(self, data):
        self.data, self.loose = bytearray(data), bytearray(len(data))

    def copy(self):
        other = Flat(self.data)
        other.loose[:] = self.loose
        return other

    def put(self, offset, data):
        self.data[offset:offset + len(data)] = data
        self.loose[offset:offset + len(data)] = bytes(len(data))

    def trim(self, offset, length):
        self.loose[offset:offset + length] = b"\1" * length

    def check(self, found, offset, what):
        wanted = self.data[offset:offset + len(found)]
        for at in range(0, len(found), BLOCK):
            if found[at:at + BLOCK] != wanted[at:at + BLOCK]:
                self.check_block(found[at:at + BLOCK], offset + at, what)

    def check_block(self, found, offset, what):
        for at, byte in enumerate(found, offset):
            expect(byte == self.data[at] or byte == 0 and self.loose[at], "%s: byte %d is %d, not %d",
                   what, at, byte, self.data[at])


def content(draw, length):
    """Few values, so that a mistaken place is not taken for chance, and repeated blocks."""
    block = draw.randbytes(min(length, 512))
    return (block * (length // len(block) + 1))[:length]


def make_base(draw, directory, name):
    """(path, format, content) of an image with something in it."""
    size = draw.choice((1 << 20, (1 << 20) + 512, 3 << 20, (2 << 20) - 4096, 5 << 18))
    data = bytearray(size)
    for _ in range(draw.randrange(6)):
        offset = draw.randrange(size // 4096) * 4096
        piece = content(draw, min(draw.choice((4096, 65536, 200000)), size - offset))
        data[offset:offset + len(piece)] = piece
    flat = os.path.join(directory, name + ".raw")
    with open(flat, "wb") as file:
        file.write(data)
    if draw.randrange(4) == 0:
        return flat, "raw", data
    cluster = draw.choice(("512", "4k", "16k", "64k", "64k", "2M"))
    options = ["cluster_size=" + cluster]
    if cluster in ("16k", "64k", "2M") and draw.randrange(2):
        options.append("extended_l2=on")
    elif draw.randrange(4) == 0:
        options.append("compat=0.10")
    else:
        options.append("refcount_bits=%s" % draw.choice(("1", "16", "64")))
    if draw.randrange(4) == 0 and "compat=0.10" not in options:
        options.append("lazy_refcounts=on")
    path = os.path.join(directory, name + ".qcow2")
    compressed = ["-c"] if draw.randrange(4) == 0 else []
    run("qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", *compressed, "-o", ",".join(options), flat, path)
    os.unlink(flat)
    return path, "qcow2", data


class Side:
    """One of the two programs, with what it made of each disk: {name: [path of each image]}."""

    def __init__(self, name):
        self.name, self.chains, self.handles = name, {}, {}

    def connect(self):
        self.handles = {name: self.open(name) for name in NAMES}

    def close(self):
        for handle in self.handles.values():
            handle.shutdown()
        for name in NAMES:
            self.detach(name)

    def attach_all(self, chains):
        self.chains = chains
        for name in NAMES:
            path, kind = chains[name][-1]
            self.attach(name, path, kind)
        self.connect()

    def read(self, name):
        handle = self.handles[name]
        return handle.pread(handle.get_size(), 0)


class Ours(Side):
    def __init__(self, daemon):
        super().__init__("snapgroupd")
        self.daemon = daemon

    def attach(self, name, path, kind):
        self.daemon.attach_device(name, os.path.relpath(path, self.daemon.images), kind)

    def detach(self, name):
        answer = self.daemon.request_when_free("DELETE", "/devices/" + name)
        expect(answer.status == 204, "DELETE %s: %s", name, answer)

    def open(self, name):
        return self.daemon.nbd(name)

    def snapshot(self, number, paths):
        members = [{"device": name, "snapshot_file": os.path.relpath(path, self.daemon.images)}
                   for name, path in paths.items()]
        answer = self.daemon.request("POST", "/snapshot-groups", {**group_body("g%s" % number, []), "devices": members})
        expect(answer.status == 201, "POST /snapshot-groups: %s", answer)


class Theirs(Side):
    def __init__(self, twin):
        super().__init__("qemu")
        self.twin = twin

    def attach(self, name, path, kind):
        self.twin.attach(name, path, kind)

    def detach(self, name):
        self.twin.detach(name)

    def open(self, name):
        return self.twin.nbd(name)

    def snapshot(self, _, paths):
        self.twin.snapshot(paths)


# ---- steps ----

def draw_range(draw, size):
    """Of whole clusters, of sectors, or of bytes."""
    unit = draw.choice((65536, 4096, 512, 1))
    offset = draw.randrange((size + unit - 1) // unit) * unit
    length = min(size - offset, draw.choice((1, 2, 3, 7, 64)) * max(unit, 200 if unit == 1 else 1))
    return offset, length


def write_step(draw, sides, name, flat):
    offset, length = draw_range(draw, len(flat.data))
    flags = draw.choice((0, 0, nbd.CMD_FLAG_FUA))
    data = content(draw, length)
    for side in sides:
        side.handles[name].pwrite(data, offset, flags)
    flat.put(offset, data)


def zero_step(draw, sides, name, flat):
    offset, length = draw_range(draw, len(flat.data))
    flags = draw.choice((0, nbd.CMD_FLAG_NO_HOLE, nbd.CMD_FLAG_FUA))
    for side in sides:
        side.handles[name].zero(length, offset, flags)
    flat.put(offset, bytes(length))


def trim_step(draw, sides, name, flat):
    offset, length = draw_range(draw, len(flat.data))
    for side in sides:
        side.handles[name].trim(length, offset)
    flat.trim(offset, length)


def read_step(draw, sides, name, flat):
    offset, length = draw_range(draw, len(flat.data))
    for side in sides:
        flat.check(side.handles[name].pread(length, offset), offset, "%s, %s" % (side.name, name))


def flush_step(_, sides, name, __):
    for side in sides:
        side.handles[name].flush()


STEP_KINDS = [write_step] * 8 + [zero_step] * 3 + [trim_step] * 2 + [read_step] * 3 + [flush_step]


class Sequence:
    def __init__(self, number, sides, directory):
        self.draw, self.number, self.sides, self.directory = random.Random(number), number, sides, directory
        self.flats, self.frozen = {}, []  # what each image of a chain, by its place, holds
        self.places = 0

    def begin(self):
        chains = {side: {} for side in self.sides}
        for name in NAMES:
            path, kind, data = make_base(self.draw, self.directory, name)
            self.flats[name] = Flat(data)
            for side in self.sides:
                copy = os.path.join(self.directory, side.name + "-" + os.path.basename(path))
                shutil.copyfile(path, copy)
                chains[side][name] = [(copy, kind)]
            os.unlink(path)
        for side in self.sides:
            side.attach_all(chains[side])

    def snapshot(self):
        self.places += 1
        for side in self.sides:
            paths = {name: os.path.join(self.directory, "%s-%s-%d.qcow2" % (side.name, name, self.places)) for name in NAMES}
            side.snapshot("%d-%d" % (self.number, self.places), paths)
            for name, path in paths.items():
                side.chains[name].append((path, "qcow2"))
        self.frozen.append({name: flat.copy() for name, flat in self.flats.items()})

    def run(self, steps):
        for _ in range(steps):
            if self.draw.randrange(6) == 0:
                self.snapshot()
                continue
            name = self.draw.choice(NAMES)
            self.draw.choice(STEP_KINDS)(self.draw, self.sides, name, self.flats[name])

    def check_active(self):
        for side in self.sides:
            for name in NAMES:
                self.flats[name].check(side.read(name), 0, "%s, %s" % (side.name, name))

    def check_frozen(self, reader):
        """All images that were frozen, of both sides, as qemu-storage-daemon reads them."""
        for side in self.sides:
            for name in NAMES:
                for (path, kind), frozen in zip(side.chains[name], self.frozen):
                    reader.attach("frozen", path, kind, writable=False)
                    handle = reader.nbd("frozen")
                    frozen[name].check(handle.pread(handle.get_size(), 0), 0, path)
                    handle.shutdown()
                    reader.detach("frozen")

    def paths(self):
        return [path for side in self.sides for chain in side.chains.values() for path, kind in chain if kind == "qcow2"]

    def swap(self):
        """Each side goes on with the other's images."""
        for side in self.sides:
            side.close()
        one, other = self.sides
        chains = one.chains, other.chains
        one.attach_all(chains[1])
        other.attach_all(chains[0])


def run_sequence(number, daemon, twin):
    directory = os.path.join(daemon.images, "s%d" % number)
    os.mkdir(directory)
    sequence = Sequence(number, (Ours(daemon), Theirs(twin)), directory)
    try:
        sequence.begin()
        sequence.run(STEPS)
        sequence.check_active()
        sequence.swap()
        sequence.check_active()
        sequence.run(STEPS_SWAPPED)
        sequence.check_active()
        for side in sequence.sides:
            side.close()
        sequence.check_frozen(twin)
        qcow2_check(*sequence.paths())
    except Exception:
        sys.stderr.write("SEED=%d SEQUENCES=1 repeats this sequence\n" % number)
        raise
    shutil.rmtree(directory)


def test():
    with Daemon() as daemon, Twin(daemon.directory) as twin:
        daemon.start()
        for number in range(SEED, SEED + SEQUENCES):
            run_sequence(number, daemon, twin)
            if (number - SEED + 1) % SWEEP == 0:
                daemon.stop()
                daemon.wipe()
                daemon.start()


main(test)
