# SPDX-License-Identifier: Apache-2.0
"""The files of races (races.py): those that are needed are there, and no others."""
import os
import struct
import tempfile

from racedisks import sectors
from snapgroupd import expect, qcow2_check, run

QCOW2_MAGIC = b"QFI\xfb"


def backing_of(path):
    """By the header alone; None: it has none, or is no qcow2 image."""
    with open(path, "rb") as image:
        magic, _, offset, length = struct.unpack(">4sIQI", image.read(20).ljust(20, b"\0"))
        if magic != QCOW2_MAGIC or offset == 0:
            return None
        image.seek(offset)
        return os.path.realpath(os.path.join(os.path.dirname(path), image.read(length).decode()))


def format_of(path):
    with open(path, "rb") as image:
        return "qcow2" if image.read(4) == QCOW2_MAGIC else "raw"


def paths_of(daemon):
    return {os.path.realpath(daemon.image(name)) for name in daemon.image_names()}


def tops_of(daemon, device):
    """(path, format) of images that no other stands on and no group froze, its own first."""
    frozen = {member["backing_file"] for group in daemon.list("/snapshot-groups") if group["state"] == "committed"
              for member in group["members"]}
    paths, below = [], set()
    for path in paths_of(daemon):
        try:
            below.add(backing_of(path))
            paths.append((path, format_of(path)))
        except FileNotFoundError:
            pass  # merged meanwhile
    def is_another(path):  # a clone may have been merged into an image of its origin
        return not os.path.basename(path).startswith(device)
    return sorted(((path, image_format) for path, image_format in paths if path not in below | frozen
                   and not os.path.basename(path).startswith("copy-")), key=lambda each: is_another(each[0]))


def needed(races):
    paths = {device["top"] for device in races.daemon.list("/devices")}
    for group in races.daemon.list("/snapshot-groups"):
        if group["state"] == "committed":
            paths |= {member["backing_file"] for member in group["members"]}
    chains = set()
    for path in map(os.path.realpath, paths):
        while path and path not in chains:
            chains.add(path)
            path = backing_of(path)
    return chains


def raw_content(path, image_format):
    """As qemu-img reads it."""
    with tempfile.NamedTemporaryFile() as raw:
        run("qemu-img", "convert", "-U", "-f", image_format, "-O", "raw", path, raw.name)
        return raw.read()


def check_copies(races):
    for image, (image_format, content) in list(races.copies.items()):
        path = races.daemon.image(image)
        if os.path.exists(path):
            expect(sectors(raw_content(path, image_format)) == content, "%s is no copy", image)
            os.unlink(path)
    races.copies.clear()


def check(races):
    """All jobs have ended. Stops the daemon meanwhile."""
    check_copies(races)
    devices = {device["name"]: device for device in races.daemon.list("/devices")}
    expect(set(devices) == set(races.disks), "%s instead of %s", sorted(devices), sorted(races.disks))
    want, have = needed(races), paths_of(races.daemon)
    expect(want == have, "missing: %s; strays: %s", sorted(want - have), sorted(have - want))
    races.daemon.stop()
    qcow2_check(*[path for path in have if format_of(path) == "qcow2"])
    for name, disk in races.disks.items():
        got = sectors(raw_content(devices[name]["top"], devices[name]["format"]))
        expect(got == disk.content, "%s: its files have another content", name)
    races.daemon.start()
