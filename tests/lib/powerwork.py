# SPDX-License-Identifier: Apache-2.0
"""One round of work on a recorded disk: three devices with different formats whose clients are
always busy, while groups of them are taken (one is refused), one grows, and other devices are
created and detached. The result is a record of requests and replies, each with its position (see
powerload.py)."""
import array
import contextlib
import json
import os
import random
import select

from powerload import BLOCKS, CLIENTS, Dependent, Device, Filler, Writeback, Writer, WORDS
from snapgroupd import SNAPGROUPD, Daemon, expect, run, wait_until

SIZE_BYTES = 768 << 10
EXTRA_BYTES = 192 << 10
GROWTH_BYTES = 65 << 10
STEPS_BETWEEN_GROUPS = 6
BALLAST = "ballast"  # the file that fills the images' file system
UNKNOWN = "unknown"  # what a group came to that was answered with an error of the store
BYTES_OF_A_GROUP = 600 << 10  # that reach the log while it is taken, and what clients write then


class DiskDaemon(Daemon):
    """A daemon whose images and state lie on the recorded disk. Its runtime directory does not:
    after a power failure that is a new one."""

    def __init__(self, mountpoint, executable=SNAPGROUPD, environment=None):
        super().__init__(executable, environment=environment)
        self.images = os.path.join(mountpoint, "images")
        self.state = os.path.join(mountpoint, "state")


class Creation:
    """A device: the positions of its creation and of its detach, None if there was none."""

    def __init__(self, device, issued):
        self.device = device
        self.image = "%s.%s" % (device.name, device.format)
        self.issued, self.answered = issued, None
        self.delete_issued = self.delete_answered = None


class Group:
    """A group that was asked for. oldest: the events that are in it for sure; newest: those that
    may be; told: its state at `answered`, None if there was no such group, or UNKNOWN."""

    def __init__(self, name, devices, position):
        self.name, self.devices, self.issued = name, devices, position
        self.files = ["%s+%s.qcow2" % (device.name, name) for device in devices]
        self.oldest = [device.acknowledged_now() for device in devices]
        self.answered = self.newest = self.told = None

    def note(self, told, position):
        self.told, self.answered = told, position
        self.newest = [device.issued_now() for device in self.devices]


class Copy:
    """Of a device's member of a group, to that image; `answered`: the job had ended, well unless it
    was cancelled (cancel_*: the positions of that)."""
    cancel_issued = cancel_answered = None

    def __init__(self, group, device, image_format, number, position):
        self.group, self.device, self.format, self.issued = group, device, image_format, position
        self.image = "copy%d.%s" % (number, image_format)
        self.answered = None


class Growth:
    """A device that was given a larger size; `file` is the overlay that came with it."""

    def __init__(self, device, size_bytes, issued):
        self.device, self.size_bytes, self.issued = device, size_bytes, issued
        self.answered = self.file = None


class Work:
    checker = None  # of powerloss.py, unless there is another
    group_type = Group
    spare_bytes = 0  # by which the disk is larger

    def __init__(self, daemon, disk, seed, is_filled):
        self.daemon, self.disk, self.is_filled = daemon, disk, is_filled
        self.random = random.Random(seed)
        self.begin = self.ready = None
        self.spans = []  # positions between which most states are to be, if there are any
        self.creations, self.groups, self.copies, self.growths = [], [], [], []
        based = [0xba5e << 32 | block for block in range(BLOCKS)]
        self.devices = [Device("vda", "raw", SIZE_BYTES, 1 << 40),
                        Device("vdb", "qcow2", SIZE_BYTES, 2 << 40),
                        Device("vdc", "qcow2", SIZE_BYTES, 3 << 40, based)]
        self.chains = {"vda": ["vda.raw"], "vdb": ["vdb.qcow2"], "vdc": ["vdc.qcow2", "base.raw"]}
        self.clients, self.writers, self.dependent, self.filler = [], [], None, None

    def prepare(self):
        """The state before the first power failure."""
        daemon, based = self.daemon, self.devices[2]
        for directory in (daemon.images, daemon.state):
            os.makedirs(directory, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(os.path.join(directory, "lost+found"))
        with open(daemon.image("base.raw"), "wb") as base:
            for block in range(BLOCKS):
                base.seek(block * based.stride)
                base.write(array.array("Q", based.events[block]).tobytes() * WORDS)
            base.truncate(SIZE_BYTES)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "-o",
            "cluster_size=%d" % self.random.choice([512, 4096, 65536]), daemon.image("vdc.qcow2"))
        run("sync", "-f", daemon.images)
        run("sync", "-f", daemon.state)
        self.begin = self.disk.position()

    def creation(self, device):
        creation = Creation(device, self.disk.position())
        self.creations.append(creation)
        return creation

    def create(self, device, **more):
        creation = self.creation(device)
        self.daemon.create_device(device.name, device.format, device.size_bytes, **more)
        creation.answered = self.disk.position()
        return creation

    def start(self):
        daemon = self.daemon
        daemon.start()
        self.ready = self.disk.position()
        for device in self.devices[:2]:
            self.create(device)
        based = Creation(self.devices[2], self.disk.position())
        self.creations.append(based)
        daemon.attach_device("vdc", based.image, "qcow2")
        based.answered = self.disk.position()
        self.start_clients()

    def start_clients(self):
        daemon = self.daemon
        self.dependent = Dependent(daemon, self.disk, self.devices)
        self.writers = [Writer(daemon, self.disk, device, number, self.random.random())
                        for device in self.devices for number in range(CLIENTS)]
        self.clients = self.writers + [self.dependent, Writeback(daemon.images, self.random.random())]
        for client in self.clients:
            client.start()
        self.fill()

    def fill(self):
        """From now on space is available only sometimes."""
        if self.is_filled:
            self.filler = Filler(os.path.join(self.disk.parts[0].mountpoint, BALLAST), self.random.random())
            self.filler.start()
            self.clients.append(self.filler)

    @contextlib.contextmanager
    def room(self):
        """Space is always available."""
        if self.filler:
            self.filler.stop()
            self.clients.remove(self.filler)
            self.filler.empty()
            run("sync", "--file-system", self.daemon.images)
        yield
        self.fill()

    def refusals(self):
        return sum(client.refusals for client in self.clients)

    def stop(self):
        for client in self.clients:
            client.stop()
        for handle in [writer.handle for writer in self.writers] + (self.dependent.handles if self.dependent else []):
            handle.shutdown()

    def ask(self, devices, **refused):
        """What a group is asked for with; with snapshot_file its last member cannot be."""
        members = [{"device": device.name} for device in devices]
        members[-1].update(refused)
        group = self.group_type("g%d" % len(self.groups), devices, self.disk.position())
        self.groups.append(group)
        return group, {"name": group.name, "devices": members}

    def take(self, devices, **refused):
        group, body = self.ask(devices, **refused)
        answer = self.daemon.request("POST", "/snapshot-groups", body)
        expect(answer.status == 201 or refused or (self.is_filled and answer.status in (503, 507)), "the group %s: %s",
               group.name, answer)
        told = "committed" if answer.status == 201 else UNKNOWN if self.is_filled else "aborted"
        group.note(told, self.disk.position())

    def take_and_kill(self):
        """The daemon is killed in the middle, under its clients, and starts again."""
        group, body = self.ask(self.devices)
        connection = self.daemon.connection()
        connection.request("POST", "/snapshot-groups", json.dumps(body), {"Content-Type": "application/json"})
        end = group.issued + self.random.randrange(BYTES_OF_A_GROUP)
        answered = lambda: select.select([connection.sock], [], [], 0)[0]
        while self.disk.position() < end and not answered():
            pass
        self.daemon.kill()
        connection.close()
        for client in self.clients:
            client.stop_anyhow()
        if self.filler:
            self.filler.empty()  # a start needs room for its database
        self.daemon.start()
        states = {row["name"]: row["state"] for row in self.daemon.list("/snapshot-groups")}
        group.note(states.get(group.name), self.disk.position())

    def grow(self, device):
        """Nobody writes to what is past the old end."""
        grown = sum(growth.device is device for growth in self.growths)
        growth = Growth(device, device.size_bytes + (grown + 1) * GROWTH_BYTES, self.disk.position())
        self.growths.append(growth)
        answer = self.daemon.request("PATCH", "/devices/" + device.name, {"size_bytes": growth.size_bytes})
        expect(answer.status == 200, "%s grows: %s", device.name, answer)
        growth.answered, growth.file = self.disk.position(), os.path.basename(answer.body["top"])

    def come(self, name, image_format):
        """Another device, with data in it."""
        device = Device(name, image_format, EXTRA_BYTES, len(self.creations) + 1 << 40)
        creation = self.create(device)
        self.write_durably(device)
        return creation

    def write_durably(self, device):
        writer = Writer(self.daemon, self.disk, device, 0, self.random.random())
        for _ in range(3):
            writer.step()
        writer.flush()
        writer.handle.shutdown()

    def go(self, creation):
        creation.delete_issued = self.disk.position()
        path = "/devices/" + creation.device.name
        wait_until(lambda: self.daemon.request("DELETE", path).status == 204, "DELETE " + path)
        creation.delete_answered = self.disk.position()

    def newest_group(self, device):
        return [group for group in self.groups if group.told == "committed" and device in group.devices][-1]

    def copy(self, device, image_format, group, steer=None):
        """steer(copy, path): changes the job that has begun."""
        copy = Copy(group, device, image_format, len(self.copies), self.disk.position())
        self.copies.append(copy)
        answer = self.daemon.request("POST", "/snapshot-groups/%s/copies" % group.name,
                                     {"device": device.name, "image": copy.image, "format": image_format})
        expect(answer.status == 202, "a copy: %s", answer)
        path = answer.headers["Location"]
        if steer:
            steer(copy, path)
        wait_until(lambda: self.daemon.get(path)["state"] in ("done", "cancelled"), "a copy to be made")
        copy.answered = self.disk.position()

    def let_clients_write(self):
        for client in self.writers + [self.dependent]:
            client.expect_steps(STEPS_BETWEEN_GROUPS)

    def run(self, groups):
        extras = []
        for i in range(groups):
            self.let_clients_write()
            self.take(self.devices if i % 2 == 0 else self.random.sample(self.devices, 2))
            if i % 3 == 0:
                with self.room():
                    if not self.is_filled:  # a group may have found no space
                        device = self.devices[i // 3 % 3]
                        self.copy(device, "qcow2" if i % 2 == 0 else "raw", self.newest_group(device))
                    extras.append(self.come("x%d" % i, "qcow2" if i % 2 else "raw"))
            elif i % 3 == 1:
                self.take(self.devices, snapshot_file="missing/o.qcow2")
                with self.room():
                    self.grow(self.random.choice(self.devices))
            else:
                with self.room():
                    self.go(extras.pop())
        self.let_clients_write()


def record(disk, seed, is_filled, groups, executable=SNAPGROUPD, environment=None, kind=Work):
    """Works on the disk; what was promised. In every other round the daemon is killed and
    recovers."""
    with DiskDaemon(disk.mountpoint, executable, environment) as daemon:
        work = kind(daemon, disk, seed, is_filled)
        work.prepare()
        work.start()
        work.run(groups)
        if seed % 2:
            work.take_and_kill()
        else:
            if work.filler:
                work.filler.empty()
            work.stop()
    return work
