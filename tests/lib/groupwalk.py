# SPDX-License-Identifier: Apache-2.0
"""What kill_walk() looks at when groups are taken: three disks with different formats, each with a
client that writes and flushes all the time."""
import os

from snapgroupd import expect, group_body, qcow2_check, run
from writers import Disk, start_writers, stop_writers

SIZE_BYTES = 6 << 20
IMAGES_MAX = 8  # in a chain; then everything starts afresh


class GroupWalk:
    """As a test of kill_walk(): a snapshot of all disks at each step."""

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
        group = self.find_committed(kill)
        if group:
            self.note_committed(group)
        self.verify_files()
        self.verify_content(group)

    def find_committed(self, kill):
        """The group of this step, or None if there is none."""
        newest = self.daemon.get("/snapshot-groups?limit=1")["items"]
        group = newest[0] if newest and newest[0]["name"] == "g%d" % kill.step else None
        state = group["state"] if group else "aborted"  # before there was a row there was nothing
        expect(state in ("committed", "aborted"), "the group is %s", state)
        if kill.answer:
            expect(state == "committed", "the client was told %s, the group is %s", kill.answer, state)
        return group if state == "committed" else None

    def verify_content(self, group):
        for disk in self.disks:
            disk.verify_device(self.daemon)
        for disk, acknowledged in zip(self.disks, self.acknowledged):
            if group:
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


class RollbackWalk(GroupWalk):
    """A rollback of all disks to one group at each step, which disconnects the clients."""

    def begin_afresh(self):
        super().begin_afresh()
        stop_writers(start_writers(self.daemon, self.disks))
        self.note_committed(self.daemon.snapshot("target", self.names))
        self.target_chains = {name: chain[1:] for name, chain in self.chains.items()}
        self.target = []
        for disk in self.disks:
            handle = self.daemon.nbd(disk.name + "@target")
            self.target.append(disk.verify(handle, disk.acknowledged, disk.issued, "the target"))
            handle.shutdown()

    def before(self, step):
        if self.committed > IMAGES_MAX:
            self.committed = 0
            self.end()
            self.begin_afresh()
        super().before(step)

    def request(self, step):
        return "POST", "/snapshot-groups/target/rollbacks", {"name": "g%d" % step, "disconnect": True}

    def note_committed(self, group):
        super().note_committed(group)
        if group["kind"] == "rollback":
            for name, chain in self.chains.items():
                self.chains[name] = chain[:1] + self.target_chains[name]

    def verify_content(self, group):
        """After a rollback every acknowledged number is in the group that keeps what was there."""
        for disk, target in zip(self.disks, self.target):
            if group:
                disk.verify_frozen(self.daemon, group["name"], disk.acknowledged, disk.issued)
                handle = self.daemon.nbd(disk.name)
                disk.acknowledged = disk.verify(handle, target, target, disk.name)
                handle.shutdown()
            disk.verify_device(self.daemon)
            disk.verify_frozen(self.daemon, "target", target, target)
