# SPDX-License-Identifier: Apache-2.0
"""Rounds of powerloss.py in which groups are rolled back to, deleted, cloned from or copied, or
disks grow, under clients that write and read. What a state must hold, besides:

    rollback  all devices hold what the group holds to which they were rolled back, or none does;
              all do once it was answered, or if the group that keeps what was there is committed;
              in that is what clients were told to be written, whom it may have disconnected
    delete    the group is as before, or is being deleted, which it is for sure once that was
              answered; the job goes on by itself and is done, and the call repeated does the rest
    clone     exists, whole, or does not; once it was answered it exists, until it is detached,
              which its file goes with
    copy      is what the group holds, once its job is done, which it is by itself, or when it goes
              on after it was paused; or never began, or was cancelled, and nothing is left
    resize    the disk has grown, with zeros past the old end, or has not; it has once answered

While jobs go on and afterwards every view is the same to the byte, and the directory has the images
of all chains, of devices and of groups, and no others.
"""
import array
import os
import random
import struct
import threading

from powerload import BLOCK_BYTES, BLOCKS, CLIENTS, Client, Device, Writeback, Writer
from powerloss import Checker
from powerwork import Group, Work
from snapgroupd import expect, wait_until

# Of a deletion, bytes per second: it stands after each piece until the rate is given again. So a
# power failure finds it at work, and who reads after that sees what would show of it.
PIECE_BY_PIECE = 1
QCOW2_HEADER = struct.Struct(">4sIQI")  # magic, version, offset and length of the backing name


def limit_rate(daemon, path, bytes_per_second):
    """Of a job, which may have ended."""
    answer = daemon.request("PATCH", path, {"rate_bytes_per_second": bytes_per_second})
    expect(answer.status == 200 or answer.body["code"] == "JobFinished", "PATCH of %s: %s", path, answer)


def change_job(daemon, path, state):
    """Whether the job had not ended."""
    answer = daemon.request("PATCH", path, {"state": state})
    expect(answer.status == 200 or answer.body["code"] == "JobFinished", "PATCH of %s: %s", path, answer)
    return answer.status == 200


def words_of(content, device):
    """What each block holds."""
    return [frozenset(array.array("Q", content[block * device.stride:block * device.stride + BLOCK_BYTES]))
            for block in range(BLOCKS)]


class LifeGroup(Group):
    """delete_*: the positions of its deletion. rolled_back: what the rollback whose safety group it
    is made of the devices' blocks, as numbers of events. seen: what was read of the members."""
    delete_issued = delete_answered = None
    rolled_back = None

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.seen = {}


class Reader(Client):
    """Reads members of groups that are not being deleted: they stay what they were at first."""
    REST_S = 0.01

    def __init__(self, daemon, groups, seed):
        super().__init__()
        self.daemon, self.groups = daemon, groups
        self.random = random.Random(seed)
        self.lock = threading.Lock()  # whoever has it knows that no member is being read

    def step(self):
        with self.lock:
            groups = [group for group in self.groups if group.told == "committed" and not group.delete_issued]
            if groups:
                self.read(self.random.choice(groups))

    def read(self, group):
        device = self.random.choice(group.devices)
        export = "%s@%s" % (device.name, group.name)
        handle = self.daemon.nbd(export)
        content = bytes(handle.pread(handle.get_size(), 0))
        handle.shutdown()
        expect(group.seen.setdefault(device, content) == content, "%s has changed", export)


class LifeWork(Work):
    """`operations` are done by turns, each after a group of all devices was taken."""
    operations = ("rollback", "delete", "clone")
    group_type = LifeGroup
    groups_before = 3
    ages = (1, 2, 2, 3, 3, 3)  # of the groups that operations are of; 1: the newest
    slow_deletions = 0.5  # of all of them: those that go piece by piece
    spare_bytes = 128 << 20  # a job leaves 64 MiB of the file system

    def __init__(self, daemon, disk, seed, is_filled):
        super().__init__(daemon, disk, seed, False)
        self.done = self.steered = 0  # operations; copies that were paused or cancelled
        self.reader = None

    @property
    def checker(self):
        return LifeChecker

    def start_clients(self):
        self.writers = [Writer(self.daemon, self.disk, device, number, self.random.random())
                        for device in self.devices for number in range(CLIENTS)]
        self.reader = Reader(self.daemon, self.groups, self.random.random())
        self.clients = self.writers + [self.reader, Writeback(self.daemon.images, self.random.random())]
        for client in self.clients:
            client.start()

    def take(self, devices, **refused):
        """Each image has other blocks than the one under it, which shows."""
        super().take(devices, **refused)
        for writer in self.writers:
            writer.chosen = self.random.sample(writer.blocks, len(writer.blocks) // 3)

    def let_clients_write(self):
        for client in self.writers:
            client.expect_steps(6)

    def run(self, groups):
        for i in range(groups + self.groups_before):
            if i == self.groups_before:
                self.begin = self.disk.position()  # states are of what comes now
            self.let_clients_write()
            self.take(self.devices)
            if i >= self.groups_before:
                self.operate(self.operations[i % len(self.operations)])
        self.let_clients_write()
        if "paused" in self.operations:
            print("%d copies were paused or cancelled" % self.steered, flush=True)

    def operate(self, operation):
        self.done += 1
        alive = [group for group in self.groups if group.told == "committed" and not group.delete_issued]
        group = alive[-self.random.choice(self.ages)]
        begin = self.disk.position()
        getattr(self, operation)(group)
        self.spans.append((begin, self.disk.position()))

    def read(self, export, device):
        handle = self.daemon.nbd(export)
        content = bytes(handle.pread(device.size_bytes, 0))
        handle.shutdown()
        return content

    def rollback(self, target):
        self.stop()
        self.roll_back(target)

    def disconnect(self, target):
        """Writers are at work until they are disconnected."""
        for client in self.clients:
            if client not in self.writers:
                client.stop()
        self.roll_back(target, disconnect=True)

    def roll_back(self, target, **how):
        safety = LifeGroup("r%d" % self.done, self.devices, self.disk.position())
        self.groups.append(safety)
        held = [words_of(self.read("%s@%s" % (device.name, target.name), device), device) for device in self.devices]
        answer = self.daemon.request("POST", "/snapshot-groups/%s/rollbacks" % target.name,
                                     {"name": safety.name, **how})
        expect(answer.status == 201, "rollback to %s: %s", target.name, answer)
        for writer in self.writers:
            writer.stop_anyhow()
            expect(not writer.error or (how and isinstance(writer.error, writer.nbd.Error)), "%s", writer.error)
        safety.note("committed", self.disk.position())
        safety.rolled_back = []
        for device, words in zip(self.devices, held):
            for events, block in zip(device.events, words):
                events.append(block)
            device.acknowledged = device.issued_now()
            safety.rolled_back.append(device.issued_now())
            device.promise(safety.answered, device.acknowledged)
        self.start_clients()

    def delete(self, group):
        with self.reader.lock:
            group.delete_issued = self.disk.position()
        answer = self.ask_for_delete(group)
        group.delete_answered = self.disk.position()
        path = answer.headers["Location"]
        is_slow = self.random.random() < self.slow_deletions

        def is_done():
            if is_slow:
                limit_rate(self.daemon, path, PIECE_BY_PIECE)
            return self.daemon.get(path)["state"] == "done"
        wait_until(is_done, "the deletion of " + group.name)

    def ask_for_delete(self, group):
        """It is refused as long as the daemon has not seen that the last reader is gone."""
        answers = []

        def is_refused():
            answers.append(self.daemon.request("DELETE", "/snapshot-groups/" + group.name))
            return answers[-1].status == 409 and answers[-1].body["code"] == "DeviceInUse"
        wait_until(lambda: not is_refused(), "the end of those who read " + group.name)
        expect(answers[-1].status == 202, "DELETE of %s: %s", group.name, answers[-1])
        return answers[-1]

    def copied(self, group, steer=None):
        device = group.devices[self.done % len(group.devices)]
        self.copy(device, "raw" if self.random.random() < 0.5 else "qcow2", group, steer)

    def slow_down(self, path):
        """Some copies stand after their first piece, others have hardly begun."""
        if self.random.random() < 0.7:
            limit_rate(self.daemon, path, PIECE_BY_PIECE)

    def cancelled(self, group):
        def cancel(copy, path):
            self.slow_down(path)
            issued = self.disk.position()
            if change_job(self.daemon, path, "cancelled"):
                copy.cancel_issued, copy.cancel_answered = issued, self.disk.position()
                self.steered += 1
        self.copied(group, cancel)

    def paused(self, group):
        def pause(_, path):
            self.slow_down(path)
            if change_job(self.daemon, path, "paused"):
                self.steered += 1
                self.let_clients_write()
                limit_rate(self.daemon, path, 0)
                change_job(self.daemon, path, "running")
        self.copied(group, pause)

    def resize(self, group):
        self.grow(self.random.choice(group.devices))

    def clone(self, group):
        source = self.devices[self.done % len(self.devices)]
        words = words_of(self.read("%s@%s" % (source.name, group.name), source), source)
        device = Device("c%d" % self.done, "qcow2", source.size_bytes, self.done + 16 << 40, words)
        creation = self.creation(device)
        answer = self.daemon.request("POST", "/devices", {"name": device.name, "image": creation.image,
                                                          "from": {"group": group.name, "device": source.name}})
        expect(answer.status == 201, "clone of %s: %s", group.name, answer)
        creation.answered = self.disk.position()
        self.write_durably(device)
        return creation

    def detached(self, group):
        """A clone, with its file."""
        creation = self.clone(group)
        creation.delete_issued = self.disk.position()
        path = "/devices/%s?files=delete" % creation.device.name
        wait_until(lambda: self.daemon.request("DELETE", path).status == 204, "DELETE " + path)
        creation.delete_answered = self.disk.position()


class RollbackWork(LifeWork):
    operations = ("rollback", "disconnect")


class DeleteWork(LifeWork):
    """Half of them of the newest group, at whose end live tops are merged (collapse)."""
    operations = ("delete",)
    ages = (1, 1, 1, 2, 3, 3)


class CollapseWork(DeleteWork):
    """Of the only group, each: after it every device is the files that it was created of."""
    ages = (1,)
    groups_before = 0


class CloneWork(LifeWork):
    operations = ("clone", "detached")


class CopyWork(LifeWork):
    operations = ("copied", "cancelled", "paused")


class ResizeWork(LifeWork):
    """What a resize has left is merged by the next delete: the lower image grows then."""
    operations = ("resize", "delete")
    ages = DeleteWork.ages


class LifeChecker(Checker):
    def check_groups(self):
        self.kind = "groups"
        shown = {group["name"]: group for group in self.daemon.list("/snapshot-groups") if group["kind"] != "cut"}
        self.committed = []
        for group in self.work.groups:
            there = shown.pop(group.name, None)
            self.check_state(group, there and there["state"])
        expect(not shown, "nobody asked for %s", sorted(shown))
        for group in self.committed:
            self.check_frozen(group)

    def check_state(self, group, state):
        expect(state in (None, "committed", "aborted", "deleting", "deleted"), "%s is %s", group.name, state)
        expect(not state or self.is_possible(group.issued), "%s is there too early", group.name)
        is_deleted = state in ("deleting", "deleted")
        expect(not is_deleted or self.is_possible(group.delete_issued), "%s is %s too early", group.name, state)
        if self.is_due(group.delete_answered):
            expect(state in (None, "deleting", "deleted"), "%s is %s, and was deleted", group.name, state)
        elif self.is_due(group.answered) and not self.is_possible(group.delete_issued):
            expect(state == group.told, "%s is %s, was %s", group.name, state, group.told)
        if state == "committed":
            self.committed.append(group)

    def check_frozen(self, group):
        for i, device in enumerate(group.devices):
            export = "%s@%s" % (device.name, group.name)
            device.verify(self.read(export, device), group.oldest[i], group.newest[i], export)

    def check_device(self, device, shown):
        expect(shown["state"] == "online", "%s is %s", device.name, shown)
        oldest = [device.durable(block, self.is_due) for block in range(BLOCKS)]
        newest = device.issued_now()
        for group in self.work.groups:
            if group.rolled_back and device in group.devices:
                events = group.rolled_back[group.devices.index(device)]
                if group in self.committed:
                    oldest = list(map(max, oldest, events))
                elif not self.is_possible(group.delete_issued):
                    newest = [min(now, event - 1) for now, event in zip(newest, events)]
        self.check_size(device, shown)
        self.contents[device] = self.read(device.name, device)
        device.verify(self.contents[device], oldest, newest, device.name)

    def check_dependent(self):
        """Jobs go on by themselves; all views stay as they are."""
        self.kind = "jobs"
        for job in self.daemon.list("/jobs"):
            limit_rate(self.daemon, "/jobs/" + job["id"], 0)
            if job["state"] == "paused":
                change_job(self.daemon, "/jobs/" + job["id"], "running")
        self.await_jobs()
        for group in self.committed:
            if self.is_possible(group.delete_issued):  # it had not begun
                answer = self.daemon.request("DELETE", "/snapshot-groups/" + group.name)
                expect(answer.status == 202, "DELETE of %s again: %s", group.name, answer)
        self.await_jobs()
        self.committed = [group for group in self.committed if not self.is_possible(group.delete_issued)]
        states = {group["name"]: group["state"] for group in self.daemon.list("/snapshot-groups")}
        for group in self.work.groups:
            expect(states.get(group.name) != "deleting", "%s is not deleted", group.name)
        self.kind = "views"
        for device, content in self.contents.items():
            expect(self.read(device.name, device) == content, "%s is changed by its jobs", device.name)
        for group in self.committed:
            self.check_frozen(group)

    def await_jobs(self):
        def are_done():
            jobs = self.daemon.list("/jobs")
            for job in jobs:
                is_copy = job["kind"] == "copy"
                expect(job["state"] in ("queued", "running", "done") + ("cancelled",) * is_copy, "%s", job)
            return all(job["state"] in ("done", "cancelled") for job in jobs)
        wait_until(are_done, "the jobs to be done")

    def files_expected(self, files):
        """The images of all chains, and copies."""
        files = {"base.raw"} | files & {copy.image for copy in self.work.copies}
        for device in self.daemon.list("/devices"):
            chain = self.daemon.get("/devices/" + device["name"])["chain"]
            files |= {os.path.basename(image["image"]) for image in chain}
        for group in self.committed:
            for member in self.daemon.get("/snapshot-groups/" + group.name)["members"]:
                files |= self.chain_of(member["backing_file"])
        return files

    def chain_of(self, path):
        """As the images' headers have it."""
        files = {os.path.basename(path)}
        with open(path, "rb") as image:
            magic, _, offset, length = QCOW2_HEADER.unpack(image.read(QCOW2_HEADER.size))
            if magic != b"QFI\xfb" or not offset:
                return files
            image.seek(offset)
            name = image.read(length).decode()
        return files | self.chain_of(os.path.join(os.path.dirname(path), name))
