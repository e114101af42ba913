#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Acknowledged data of a killed daemon come back with their storage: on ext4, with and without times
# of birth, on xfs and btrfs, mounted again from another block device, and after images were
# renamed. Until then devices are failed, with the reason; then they come online by themselves, or
# as soon as a client connects or a group names them, with or without another start of the daemon in
# between. The devices have snapshots, and frozen images have journals too.
import contextlib
import os
import random
import signal
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import FileSystem, own_mounts
from snapgroupd import Daemon, expect, main, qcow2_check, wait_until

BLOCK_BYTES = 4096
BLOCKS = 512
SEED = int(os.environ.get("SEED", "8"))
DEVICES = ("vda", "vdb", "vdc")


class Disk:
    """A device and what it must hold."""

    def __init__(self, daemon, name, source):
        self.daemon, self.name, self.source = daemon, name, source
        self.content = bytearray(BLOCKS * BLOCK_BYTES)

    def write(self, count):
        handle = self.daemon.nbd(self.name)
        for _ in range(count):
            at = self.source.randrange(BLOCKS) * BLOCK_BYTES
            data = self.source.randbytes(BLOCK_BYTES)
            handle.pwrite(data, at)
            self.content[at:at + BLOCK_BYTES] = data
        handle.shutdown()

    def must_hold(self):
        handle = self.daemon.nbd(self.name)
        there = handle.pread(len(self.content), 0)
        handle.shutdown()
        expect(there == self.content, "%s does not hold what was acknowledged", self.name)

    def state(self):
        return self.daemon.get("/devices/" + self.name)["state"]

    def must_be_failed(self, reason):
        device = self.daemon.get("/devices/" + self.name)
        expect(device["state"] == "failed" and reason in device["reason"], "%s: %s", self.name, device)


def journals(daemon):
    return os.listdir(os.path.join(daemon.runtime, "journals"))


def snapshot(daemon, name):
    answer = daemon.request("POST", "/snapshot-groups", {"name": name, "devices": [
        {"device": device, "snapshot_file": "m/%s.%s.qcow2" % (device, name)} for device in DEVICES]})
    expect(answer.status == 201, "POST /snapshot-groups: %s", answer)


def rename(daemon, old, new):
    os.rename(os.path.join(daemon.images, "m", old), os.path.join(daemon.images, "m", new))


def come_back(daemon, disks, how):
    """All at once, each in its own way."""
    if how == "alone":
        for disk in disks:
            wait_until(lambda disk=disk: disk.state() == "online", "%s is online" % disk.name)
    elif how == "group":
        snapshot(daemon, "after")
    for disk in disks:
        disk.must_hold()  # which connects
        expect(disk.state() == "online", "%s is not online", disk.name)


@contextlib.contextmanager
def ended(daemon):
    """However the round ends, nothing is open on the file system when it is unmounted."""
    try:
        yield
    finally:
        if daemon.process:
            daemon.end(signal.SIGKILL)


def one_round(kind, how, restarts, is_renamed, source):
    with tempfile.TemporaryDirectory(prefix="sg.") as directory, Daemon() as daemon, \
            FileSystem(kind, directory, os.path.join(daemon.images, "m")) as storage, ended(daemon):
        daemon.start()
        for name in DEVICES:
            daemon.create_device(name, "qcow2", BLOCKS * BLOCK_BYTES, image="m/%s.qcow2" % name)
        disks = [Disk(daemon, name, source) for name in DEVICES]
        for disk in disks:
            disk.write(20)
        snapshot(daemon, "before")
        for disk in disks:
            disk.write(20)
        daemon.kill()
        expect(len(journals(daemon)) == len(DEVICES), "journals: %s", journals(daemon))
        device_number = os.stat(storage.mountpoint).st_dev

        names = [os.path.basename(path) for path in os.listdir(storage.mountpoint) if "qcow2" in path]
        if is_renamed:
            for name in names:
                rename(daemon, name, "away." + name)
        else:
            storage.away()
        for _ in range(restarts):
            daemon.start()
            for disk in disks:
                disk.must_be_failed("No such file")
            daemon.kill()
        if how != "start":
            daemon.start()
            for disk in disks:
                disk.must_be_failed("No such file")
                answer = daemon.request("DELETE", "/devices/" + disk.name)
                expect(answer.status == 409 and answer.body["code"] == "UnflushedData", "DELETE: %s", answer)
        if is_renamed:
            for name in names:
                rename(daemon, "away." + name, name)
        else:
            storage.back()
            # btrfs takes a number that is no device's.
            expect(kind == "btrfs" or os.stat(storage.mountpoint).st_dev != device_number, "the same device number")
        if how == "start":
            daemon.start()
        come_back(daemon, disks, how)
        daemon.stop()
        expect(not journals(daemon), "journals: %s", journals(daemon))
        for name in names:
            qcow2_check(os.path.join(storage.mountpoint, name))


def test():
    source = random.Random(SEED)
    for kind in ("ext4", "ext4-128", "xfs", "btrfs"):
        for how, restarts, is_renamed in (("start", 0, False), ("start", 2, False), ("alone", 0, False),
                                          ("connect", 1, False), ("group", 0, False), ("start", 1, True),
                                          ("connect", 0, True)):
            if is_renamed and kind != "ext4":
                continue
            print("%s, %s, %d restarts, %s" % (kind, how, restarts, "renamed" if is_renamed else "unmounted"), flush=True)
            one_round(kind, how, restarts, is_renamed, source)


own_mounts()
main(test)
