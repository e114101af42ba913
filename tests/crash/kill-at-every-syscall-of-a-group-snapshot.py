#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Three disks with different formats, each with a client that writes and flushes all the time; POST
# /snapshot-groups is killed at every system call of its two threads, and of the thread that
# finishes a member after the cut while the others are settled. After every kill qemu-img finds no
# error in any image; after every restart
#   - the group is committed as a whole or aborted as a whole, and committed if the client got a
#     201;
#   - the image directory has the files of committed groups and no others;
#   - every disk's chain consists of these files;
#   - every acknowledged number, flushed or not, is on the disk and, if it was acknowledged before
#     the call, in the frozen member.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import GatedDaemon
from killwalk import ask_and_kill_at, kill_walk
from snapgroupd import expect, group_body, main, qcow2_check, run
from strace import run_by
from writers import Disk, start_writers, stop_writers

SIZE_BYTES = 6 << 20
IMAGES_MAX = 8  # in a chain; then everything starts afresh


class Test:
    def __init__(self, daemon):
        self.daemon = daemon
        self.committed = 0
        self.begin_afresh()

    def begin_afresh(self):
        self.disks = [Disk(name, SIZE_BYTES) for name in ("vda", "vdb", "vdc")]
        self.names = [disk.name for disk in self.disks]
        run("qemu-img", "create", "-q", "-f", "raw", self.daemon.image("base.raw"), str(SIZE_BYTES))
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", "-b", "base.raw",
            "-F", "raw", self.daemon.image("vdc.qcow2"))
        self.daemon.start()
        self.daemon.create_device("vda", "raw", SIZE_BYTES)
        self.daemon.create_device("vdb", "qcow2", SIZE_BYTES)
        self.daemon.attach_device("vdc", "vdc.qcow2", "qcow2")
        self.files = set(self.daemon.image_names())
        self.chains = {"vda": ["vda.raw"], "vdb": ["vdb.qcow2"], "vdc": ["vdc.qcow2", "base.raw"]}

    def end(self):
        self.daemon.stop()
        for name in sorted(self.files):
            if name.endswith(".qcow2"):
                qcow2_check(self.daemon.image(name))
        self.daemon.wipe()

    def before(self, step):
        if len(self.chains["vda"]) > IMAGES_MAX:
            self.end()
            self.begin_afresh()
        self.writers = start_writers(self.daemon, self.disks)
        self.acknowledged = [list(disk.acknowledged) for disk in self.disks]

    def request(self, step):
        return "POST", "/snapshot-groups", group_body("g%d" % step, self.names)

    def after_kill(self, kill):
        stop_writers(self.writers)
        for name in set(self.daemon.image_names()) - self.files:
            if not name.startswith("."):  # a staged image need not be whole
                qcow2_check(self.daemon.image(name))
        for chain in self.chains.values():
            if chain[0].endswith(".qcow2"):
                qcow2_check(self.daemon.image(chain[0]))

    def after_restart(self, kill):
        newest = self.daemon.get("/snapshot-groups?limit=1")["items"]
        group = newest[0] if newest and newest[0]["name"] == "g%d" % kill.step else None
        state = group["state"] if group else "aborted"  # before there was a row there was nothing
        expect(state in ("committed", "aborted"), "the group is %s", state)
        if kill.answer:
            expect(state == "committed", "the client was told %s, the group is %s", kill.answer, state)
        if state == "committed":
            self.note_committed(group)
        self.verify_files()
        for disk in self.disks:
            disk.verify_device(self.daemon)
        if state == "committed":
            for disk, acknowledged in zip(self.disks, self.acknowledged):
                disk.verify_frozen(self.daemon, group["name"], acknowledged, disk.issued)

    def note_committed(self, group):
        self.committed += 1
        expect([member["device"] for member in group["members"]] == self.names, "members: %s", group)
        for member in group["members"]:
            snapshot_file = os.path.relpath(member["snapshot_file"], self.daemon.images)
            self.chains[member["device"]].insert(0, snapshot_file)
            self.files.add(snapshot_file)

    def verify_files(self):
        names = set(self.daemon.image_names())
        expect(names == self.files, "orphans %s, missing %s", sorted(names - self.files),
               sorted(self.files - names))
        for name, chain in self.chains.items():
            device = self.daemon.get("/devices/" + name)
            there = [os.path.relpath(image["image"], self.daemon.images) for image in device["chain"]]
            expect(device["state"] == "online" and there == chain, "%s should have the chain %s: %s",
                   name, chain, device)


def test():
    with GatedDaemon() as daemon:
        snapshots = Test(daemon)
        steps = kill_walk(daemon, 201, snapshots)
        steps += kill_walk(daemon, 201, snapshots, run_by, steps)
        kill_walk(daemon, 201, snapshots, first_step=steps, ask=ask_and_kill_at("seal-vdb", "group-finish"))
        snapshots.end()
        expect(snapshots.committed > 0, "no group was committed")
        print("%d groups committed" % snapshots.committed)


main(test)
