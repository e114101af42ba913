# SPDX-License-Identifier: Apache-2.0
"""The model of the lives of disks: what devices, groups and detached disks are, as flat content.

A view is a bytes object, so that a copy of the state is cheap. What the images' headers name is
read here without QEMU and without the daemon: the tree that is on the disk.

    Disk    attached: `devices[name]`; detached: `left[top]`
    Group   committed, or `deleting` from the DELETE on until its job is done
"""
import os
import struct
import time

from snapgroupd import DEADLINE_S, expect

QCOW2 = b"QFI\xfb"


class Disk:
    """One that clients may write, or could when it was detached."""

    def __init__(self, view, top=None, read_only=False, origin=None):
        self.view = view
        self.top = top  # as it was when it was detached, or attached read-only
        self.read_only = read_only
        self.origin = origin  # (id of the group, device, "clone" or "rollback")

    def write(self, offset, data):
        self.view = self.view[:offset] + data + self.view[offset + len(data):]


class Group:
    def __init__(self, name, kind, members, rolled_back_to=None):
        self.name, self.kind = name, kind
        self.members = members  # {device: view}
        self.rolled_back_to = rolled_back_to
        self.id = None
        self.holds = set()
        self.deleting = False


def backing_of(path):
    """The path that the header names, or None."""
    with open(path, "rb") as image:
        head = image.read(20)
        if head[:4] != QCOW2:
            return None
        offset, length = struct.unpack(">QI", head[8:20])
        if not offset:
            return None
        image.seek(offset)
        name = image.read(length).decode()
    return os.path.normpath(os.path.join(os.path.dirname(path), name))


def format_of(path):
    with open(path, "rb") as image:
        return "qcow2" if image.read(4) == QCOW2 else "raw"


class Tree:
    """All images that are on the disk now, and what each stands on."""

    def __init__(self, directory):
        end = time.monotonic() + DEADLINE_S
        while not self.look(directory):
            expect(time.monotonic() < end, "an image stands on nothing: %s", self.backing)
        self.children = {path: [] for path in self.backing}
        for path, base in self.backing.items():
            if base is not None:
                self.children.setdefault(base, []).append(path)

    def look(self, directory):
        """False if a job was at work."""
        self.backing = {}
        try:
            for where, _, names in os.walk(directory):
                for name in names:
                    path = os.path.join(where, name)
                    self.backing[path] = backing_of(path)
        except FileNotFoundError:
            return False
        return all(base is None or base in self.backing for base in self.backing.values())

    def chain(self, path):
        chain = []
        while path is not None:
            chain.append(path)
            path = self.backing[path]
        return chain

    def root(self, path):
        return self.chain(path)[-1]

    def above(self, path):
        """The image and all that stands on it."""
        found = [path]
        for each in found:
            found += self.children[each]
        return found

    def is_linear(self, root):
        return all(len(self.children[path]) <= 1 for path in self.above(root))


def differences(one, other, step=512):
    """Offsets of sectors that differ; what is longer differs."""
    for offset in range(0, max(len(one), len(other)), step):
        if one[offset:offset + step] != other[offset:offset + step]:
            yield offset


def first_difference(one, other):
    if len(one) != len(other):
        return "%d bytes, not %d" % (len(one), len(other))
    at = next(differences(one, other, 1))
    places = list(differences(one, other))
    return "%d sectors differ, first byte %d: 0x%02x, not 0x%02x" % (len(places), at, one[at], other[at])


def is_mix(data, before, after, step=512):
    """Each sector is as before or as after."""
    return len(data) == len(before) and all(
        data[at:at + step] in (before[at:at + step], after[at:at + step]) for at in range(0, len(data), step))
