#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# For SOAK_S seconds (default 1800) clients write, take groups with a key, follow the events, and
# get and revoke tokens; meanwhile the images' file system is filled and emptied, writes of the
# daemon get EIO, connections are cut, and every KILL_S seconds (default 20) the daemon is killed.
# After each kill, and at the end:
#   - every block is what its client was last told, or what an unanswered write was to make it;
#   - a key has one answer, and its group exists once, with that id;
#   - events have neither gap nor double, and every committed group has one `group.committed`;
#   - the images that rows name are there, sound, and no others;
#   - a token works from its answer to its revocation, and never after it.
import array
import glob
import http.client
import os
import random
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import FileSystem, own_mounts
from snapgroupd import Connection, Daemon, Failure, expect, main, qcow2_check, wait_until

SOAK_S = float(os.environ.get("SOAK_S", "1800"))
KILL_S = float(os.environ.get("KILL_S", "20"))
SEED = int(os.environ.get("SEED", "1026"))
SIZE_BYTES = 8 << 20
BLOCK_BYTES = 4096
BLOCKS = SIZE_BYTES // BLOCK_BYTES
DISKS = ("vda", "vdb", "vdc")
GROUP_PAUSE_S = 4  # between two groups, so that chains stay openable
GONE = (OSError, http.client.HTTPException)  # the daemon was killed, or the connection was cut


class Loop(threading.Thread):
    """step() again and again until end(); a daemon that is away is no error."""

    def __init__(self, pause_s=0.0):
        super().__init__(daemon=True)
        self.pause_s, self.ending, self.error = pause_s, threading.Event(), None

    def run(self):
        try:
            while not self.ending.is_set():
                try:
                    self.step()
                except GONE:
                    self.ending.wait(0.05)
                self.ending.wait(self.pause_s)
        except Exception as error:  # noqa: end() raises it
            self.error = error

    def end(self):
        self.ending.set()
        self.join()
        if self.error:
            raise self.error


class Writer(Loop):
    """allowed[block]: the numbers that each word of the block may be."""

    def __init__(self, daemon, name):
        super().__init__()
        self.daemon, self.name, self.handle, self.number = daemon, name, None, 0
        self.random = random.Random(name)
        self.allowed = [{0} for _ in range(BLOCKS)]
        self.lock = threading.Lock()  # held while a request is under way
        self.writes = 0

    def step(self):
        import nbd
        try:
            with self.lock:
                self.handle = self.handle or self.daemon.nbd(self.name)
                self.write(self.random.randrange(BLOCKS))
        except nbd.Error as error:
            if self.handle and (self.handle.aio_is_dead() or self.handle.aio_is_closed()) or not self.handle:
                self.handle = None
                raise ConnectionError(str(error)) from None

    def write(self, block):
        if self.random.random() < 0.05:
            self.handle.flush()
            return
        self.number += 1
        self.allowed[block] = self.allowed[block] | {self.number}
        self.handle.pwrite(array.array("Q", [self.number]).tobytes() * (BLOCK_BYTES // 8), block * BLOCK_BYTES)
        self.allowed[block] = {self.number}
        self.writes += 1

    def verify(self):
        with self.lock:
            handle = self.daemon.nbd(self.name)
            there = array.array("Q", bytes(handle.pread(SIZE_BYTES, 0)))
            handle.shutdown()
            words = BLOCK_BYTES // 8
            for block, allowed in enumerate(self.allowed):
                found = set(there[block * words:(block + 1) * words])
                expect(found <= allowed, "%s, block %d: %s, allowed %s", self.name, block, found, allowed)


class Groups(Loop):
    """Takes groups, each with a key, and repeats a call until it has an answer that is final."""

    def __init__(self, daemon):
        super().__init__(GROUP_PAUSE_S)
        self.daemon, self.number, self.answers = daemon, 0, {}

    def step(self):
        self.number += 1
        name = "g%d" % self.number
        members = [{"device": disk, "snapshot_file": "disk/%s+%s.qcow2" % (disk, name)} for disk in DISKS]
        body = {"name": name, "devices": members}
        while not self.ending.is_set():
            try:
                answer = self.daemon.request("POST", "/snapshot-groups", body, Idempotency_Key='"%s"' % name)
            except GONE:
                time.sleep(0.05)
                continue
            if answer.status == 201 or answer.status < 500 and not answer.body["retryable"]:
                self.answers[name] = answer
                return
            time.sleep(0.1)  # as Retry-After would have it, but for the second

    def verify(self):
        for name, answer in list(self.answers.items()):
            if answer.status != 201:
                continue
            found = self.daemon.get("/snapshot-groups/" + name)
            expect(found["id"] == answer.body["id"] and found["state"] == "committed", "%s: %s, but %s", name, answer, found)


class Events(Loop):
    """Follows the events across kills, by the id of the last one."""

    def __init__(self, daemon):
        super().__init__(0.2)
        self.daemon, self.items = daemon, []

    def step(self):
        last = self.items[-1]["id"] if self.items else 0
        answer = self.daemon.request("GET", "/events?limit=100&after=%d" % last)
        if answer.status != 200:
            expect(answer.body["retryable"], "GET /events: %s", answer)
            return
        for event in answer.body["items"]:
            expect(not self.items or event["id"] == self.items[-1]["id"] + 1, "after %s came %s",
                   self.items and self.items[-1], event)
            self.items.append(event)

    def catch_up(self):
        while True:
            count = len(self.items)
            self.step()
            if len(self.items) == count:
                return


class Tokens(Loop):
    def __init__(self, daemon):
        super().__init__(0.5)
        self.daemon, self.number, self.used = daemon, 0, 0

    def get(self, secret):
        connection = Connection(self.daemon.port, secret)
        try:
            return connection.ask("GET", "/devices").status
        finally:
            connection.close()

    def step(self):
        self.number += 1
        made = self.daemon.request("POST", "/tokens", {"name": "t%d" % self.number, "scope": "read"})
        if made.status != 201:
            expect(made.body["retryable"] or made.status == 409, "POST /tokens: %s", made)
            return
        expect(self.get(made.body["secret"]) in (200, 503, 507), "a token that is new")
        self.used += 1
        gone = self.daemon.request("DELETE", "/tokens/" + made.body["id"])
        if gone.status == 204:
            expect(self.get(made.body["secret"]) in (401, 429), "a token that is revoked")


class Faults(Loop):
    def __init__(self, daemon, disk):
        super().__init__(0.3)
        self.daemon, self.disk, self.random = daemon, disk, random.Random(SEED)
        self.counts = {"full": 0, "room": 0, "EIO": 0, "cut": 0}

    def step(self):
        kind = self.random.choice(sorted(self.counts))
        self.counts[kind] += 1
        if kind == "full":
            self.disk.leave(self.random.randrange(4 << 20))
        elif kind == "room":
            self.disk.leave(None)
        elif kind == "EIO":
            self.fail_writes()
        else:
            connection = self.daemon.connection()
            connection.request("GET", "/snapshot-groups?limit=1000")
            connection.sock.close()

    def fail_writes(self):
        """strace may wait for ever for a thread of a daemon that is killed meanwhile."""
        process = self.daemon.process
        if process:
            subprocess.run(["timeout", "--kill-after=1", "0.5", "strace", "-f", "-q", "-o", "/dev/null", "-p", str(process.pid),
                            "-e", "inject=pwrite64:error=EIO:when=%d+40" % self.random.randrange(1, 40)],
                           stderr=subprocess.DEVNULL, check=False)


def files_named(daemon):
    names = set()
    for device in daemon.list("/devices"):
        names.update(image["image"] for image in device["chain"])
    return names


def verify(daemon, disk, writers, groups, events):
    """With the faults at rest."""
    disk.leave(None)
    wait_until(lambda: all(device["state"] == "online" for device in daemon.list("/devices")), "the devices to come back")
    for writer in writers:
        writer.verify()
    groups.verify()
    events.catch_up()


def verify_at_the_end(daemon, disk, groups, events):
    found = [group for group in daemon.list("/snapshot-groups") if group["state"] == "committed"]
    committed = {group["id"] for group in found}
    for group in found:
        answer = groups.answers.get(group["name"])  # the last call may have been given up
        expect(answer is None or answer.status == 201, "%s is committed, but %s", group["name"], answer)
    expect(len(found) - len(groups.answers) <= 1, "groups that nobody was told of: %s", found)
    told = [event["group"] for event in events.items if event["kind"] == "group.committed"]
    expect(sorted(told) == sorted(committed), "committed groups and events: %s", set(told) ^ committed)
    answered = {answer.body["id"] for answer in groups.answers.values() if answer.status == 201}
    expect(answered <= committed, "answered, but not there: %s", answered - committed)
    named = files_named(daemon)
    there = {os.path.realpath(path) for path in glob.glob(disk.mountpoint + "/*.qcow2")}
    expect(named == there, "images without a row, or the reverse: %s", named ^ there)
    daemon.stop()
    for path in there:
        qcow2_check(path)
    left = os.listdir(os.path.join(daemon.runtime, "journals"))
    expect(not left, "SIGTERM leaves journals: %s", left)


def soak(daemon, disk):
    daemon.listen_on_tcp()
    daemon.start()
    for name in DISKS:
        daemon.create_device(name, "qcow2", SIZE_BYTES, image="disk/%s.qcow2" % name)
    writers = [Writer(daemon, name) for name in DISKS]
    groups, events, tokens = Groups(daemon), Events(daemon), Tokens(daemon)
    loops = writers + [groups, events, tokens]
    for loop in loops:
        loop.start()
    end, kills = time.monotonic() + SOAK_S, 0
    counts = {}
    while time.monotonic() < end:
        faults = Faults(daemon, disk)
        faults.start()
        time.sleep(KILL_S * random.random() * 2)  # the test draws the moment; nothing is awaited
        daemon.kill()
        kills += 1
        faults.end()
        counts = {kind: counts.get(kind, 0) + count for kind, count in faults.counts.items()}
        disk.leave(None)
        daemon.start()
        verify(daemon, disk, writers, groups, events)
        failed = [loop.error for loop in loops if loop.error]
        expect(not failed, "%s", failed)
    for loop in loops:
        loop.end()
    verify(daemon, disk, writers, groups, events)
    verify_at_the_end(daemon, disk, groups, events)
    print("%d kills, %s, %d writes, %d groups answered, %d events, %d tokens" % (
        kills, counts, sum(writer.writes for writer in writers), len(groups.answers), len(events.items), tokens.used))


def test():
    random.seed(SEED)
    with Daemon() as daemon, FileSystem("ext4", daemon.directory, daemon.image("disk")) as disk:
        try:
            soak(daemon, disk)
        except Failure:
            if daemon.process:
                daemon.kill()
            raise


own_mounts()
main(test)
