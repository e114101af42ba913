#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# For SOAK_S seconds (default 1800) clients write, take groups with a key, follow the events as a
# list and as a stream, and get and revoke tokens; meanwhile the file systems of the images and of
# the state are filled and emptied, writes and syncs of the daemon get EIO, clients of NBD die in
# the middle of a write and clients of REST before their answer, and every KILL_S seconds (default
# 20) the daemon is killed. A device whose image's sync failed is detached with `discard_unflushed`
# and attached again. After each kill, and at the end:
#   - every block is what its client was last told, or what an unanswered write was to make it;
#     after such a failed sync it is as of the last flush or a write since, from then on only that;
#   - a key has one answer, and its group exists once, with that id;
#   - frozen members are what they were when they were first read;
#   - events have neither gap nor double, and every committed group has one `group.committed`;
#   - the images that rows name are there, sound, and no others;
#   - a token works from its answer to its revocation, and never after it.
import glob
import os
import random
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import FileSystem, own_mounts
from snapgroupd import Daemon, Failure, expect, main, qcow2_check, wait_until
from soak import DISKS, SIZE_BYTES, Events, Faults, Groups, Operator, Stream, Tokens, Writer

SOAK_S = float(os.environ.get("SOAK_S", "1800"))
KILL_S = float(os.environ.get("KILL_S", "20"))
DISK_BYTES = 4 << 30  # for the chains of an hour; a hole, but for what is written
SEED = int(os.environ.get("SEED", "1026"))


def files_named(daemon):
    names = set()
    for device in daemon.list("/devices"):
        names.update(image["image"] for image in device["chain"])
    return names


def failed_devices(daemon):
    return [(device["name"], device["reason"]) for device in daemon.list("/devices") if device["state"] != "online"]


class Soak:
    def __init__(self, daemon, disk, state_disk):
        self.daemon, self.disk, self.disks = daemon, disk, (disk, state_disk)
        daemon.listen_on_tcp()
        daemon.start()
        for name in DISKS:
            daemon.create_device(name, "qcow2", SIZE_BYTES, image="disk/%s.qcow2" % name)
        self.writers = [Writer(daemon, name) for name in DISKS]
        self.groups, self.events, self.stream, self.tokens = Groups(daemon), Events(daemon), Stream(daemon), Tokens(daemon)
        self.operator = Operator(daemon, self.writers)
        self.loops = self.writers + [self.groups, self.events, self.stream, self.tokens, self.operator]
        self.kills, self.counts = 0, {}

    def run(self):
        for loop in self.loops:
            loop.start()
        end = time.monotonic() + SOAK_S
        while time.monotonic() < end:
            self.fail_and_kill()
            self.verify()
            self.expect_running()
        for loop in self.loops:
            loop.end()
        self.events.catch_up()
        self.verify_the_end()

    def fail_and_kill(self):
        faults = Faults(self.daemon, self.disks, self.writers, random.random())
        faults.start()
        time.sleep(KILL_S * random.random() * 2)  # the test draws the moment; nothing is awaited
        self.daemon.kill()
        self.kills += 1
        faults.end()
        self.counts = {kind: self.counts.get(kind, 0) + count for kind, count in faults.counts.items()}
        for disk in self.disks:
            disk.leave(None)
        self.daemon.start()

    def errors(self):
        return [loop.error for loop in self.loops if loop.error]

    def expect_running(self):
        expect(not self.errors(), "%s", self.errors())

    def verify(self):
        """With the faults at rest."""
        try:
            wait_until(lambda: self.errors() or not failed_devices(self.daemon), "the devices to come back")
        except Failure:
            raise Failure("devices stay failed: %s" % failed_devices(self.daemon)) from None
        self.expect_running()
        for writer in self.writers:
            writer.verify()
        self.groups.verify()
        self.events.catch_up()
        self.stream.catch_up(self.events)

    def verify_the_end(self):
        for writer in self.writers:
            writer.verify()
        self.groups.verify()
        self.groups.verify_frozen()
        self.verify_rows()
        self.verify_tokens()
        self.verify_files()

    def verify_rows(self):
        found = [group for group in self.daemon.list("/snapshot-groups") if group["state"] == "committed"]
        committed = {group["id"] for group in found}
        for group in found:
            answer = self.groups.answers.get(group["name"])  # the last call may have been given up
            expect(answer is None or answer.status == 201, "%s is committed, but %s", group["name"], answer)
        expect(len(found) - len(self.groups.answers) <= 1, "groups that nobody was told of: %s", found)
        told = [event["group"] for event in self.events.items if event["kind"] == "group.committed"]
        expect(sorted(told) == sorted(committed), "committed groups and events: %s", set(told) ^ committed)
        answered = {answer.body["id"] for answer in self.groups.answers.values() if answer.status == 201}
        expect(answered <= committed, "answered, but not there: %s", answered - committed)

    def verify_tokens(self):
        kept = {token["id"] for token in self.daemon.list("/tokens")}
        expect(not kept & set(self.tokens.revoked), "revoked, but there: %s", kept & set(self.tokens.revoked))
        made, gone = (sum(event["kind"] == kind for event in self.events.items)
                      for kind in ("token.created", "token.revoked"))
        expect(made - gone == len(kept) and gone >= len(self.tokens.revoked),
               "%d tokens made, %d revoked, %d there", made, gone, len(kept))

    def verify_files(self):
        named = files_named(self.daemon)
        there = {os.path.realpath(path) for path in glob.glob(self.disk.mountpoint + "/*.qcow2")}
        expect(named == there, "images without a row, or the reverse: %s", named ^ there)
        self.daemon.stop()
        for path in there:
            qcow2_check(path)
        left = os.listdir(os.path.join(self.daemon.runtime, "journals"))
        expect(not left, "SIGTERM leaves journals: %s", left)

    def report(self):
        print("%d kills, %s, %d failed syncs accepted (%d blocks lost writes), %d writes, %d groups answered (%d after a client's death, %d committed), %d events (%d in the "
              "stream, resumed %d times), %d tokens" % (
                  self.kills, self.counts, self.operator.accepted, sum(writer.returned for writer in self.writers),
                  sum(writer.writes for writer in self.writers), len(self.groups.answers),
                  self.groups.deaths, sum(answer.status == 201 for answer in self.groups.answers.values()),
                  len(self.events.items), len(self.stream.ids), self.stream.resumed, self.tokens.used))


def test():
    random.seed(SEED)
    with Daemon() as daemon, FileSystem("ext4", daemon.directory, daemon.image("disk"), DISK_BYTES) as disk, \
            FileSystem("ext4", daemon.directory, daemon.state) as state_disk:
        try:
            soak = Soak(daemon, disk, state_disk)
            soak.run()
            soak.report()
        except Failure:
            if daemon.process:
                daemon.kill()
            raise


own_mounts()
main(test)
