# SPDX-License-Identifier: Apache-2.0
"""64 clients that take groups of 4 of 64 disks, each over a connection of its own, as fast as they
can. Neighbours share disks, so some are refused with DeviceInUse, and nothing else may happen.

A phase begins with new disks and ends when every client has taken its turns, or the time is up.
Then the disks are detached, and what is left is judged: files, descriptors, memory, states.
"""
import http.client
import os
import threading
import time

from snapgroupd import BUILD_DIR, Failure, expect, group_body, wait_until

CLIENTS = 64
MEMBERS = 4
DISK_BYTES = 1 << 20
# After two phases caches are full; then only what is remembered of each committed member is added.
# With one arena, malloc keeps little of what is freed.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1"}
WARM_UP_PHASES = 2
MEMORY_GROWTH_MAX_BYTES = 8 << 20
MEMBER_MAX_BYTES = 4096


def is_sanitized():
    with open(os.path.join(BUILD_DIR, "CMakeCache.txt")) as cache:
        return "-fsanitize=" in cache.read()


class Client(threading.Thread):
    def __init__(self, daemon, number, phase, turns, end):
        super().__init__(daemon=True)
        self.on, self.number, self.phase, self.turns, self.end = daemon, number, phase, turns, end
        self.taken, self.refused, self.error = [], 0, None
        self.start()

    def run(self):
        try:
            connection = self.on.connection()
            connection.response_class = http.client.HTTPResponse  # too many to compare each
            for turn in range(self.turns):
                if time.monotonic() > self.end:
                    break
                self.take(connection, "p%d-c%d-t%d" % (self.phase, self.number, turn))
            connection.close()
        except Exception as error:
            self.error = error

    def take(self, connection, name):
        devices = ["d%d" % ((self.number + member) % CLIENTS) for member in range(MEMBERS)]
        answer = connection.ask("POST", "/snapshot-groups", group_body(name, devices))
        if answer.status == 201:
            self.taken.append(answer.body)
            return
        if answer.status != 409 or answer.body["code"] != "DeviceInUse":
            raise Failure("%s: %s" % (name, answer))
        self.refused += 1


def descriptors(daemon):
    """What is open, by name; connections are counted apart, as they may still be closing."""
    names = []
    for fd in os.listdir("/proc/%d/fd" % daemon.pid):
        try:
            names.append(os.readlink("/proc/%d/fd/%s" % (daemon.pid, fd)))
        except OSError:
            pass  # it has just been closed
    return sorted(name for name in names if not name.startswith("socket:")), \
        sum(name.startswith("socket:") for name in names)


def judge_descriptors(daemon, files, sockets):
    wait_until(lambda: descriptors(daemon)[1] <= sockets, "its connections are closed")
    now = descriptors(daemon)[0]
    expect(now == files, "descriptors are left: %s, before: %s", now, files)


def memory_bytes(daemon):
    with open("/proc/%d/status" % daemon.pid) as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


def phase(daemon, number, turns, end):
    """Returns the committed groups of all clients, and the number of refusals."""
    for disk in range(CLIENTS):
        body = {"name": "d%d" % disk, "image": "p%d-d%d.raw" % (number, disk), "format": "raw", "size_bytes": DISK_BYTES}
        answer = daemon.request("POST", "/devices", body)
        expect(answer.status == 201, "%s: %s", body, answer)
    clients = [Client(daemon, client, number, turns, end) for client in range(CLIENTS)]
    for client in clients:
        client.join()
        expect(not client.error, "client %d: %s", client.number, client.error)
    for disk in range(CLIENTS):
        answer = daemon.request("DELETE", "/devices/d%d" % disk)
        expect(answer.status == 204, "d%d is not detached: %s", disk, answer)
    return [group for client in clients for group in client.taken], sum(client.refused for client in clients)


def judge_files(daemon, phases, groups):
    disks = ["p%d-d%d.raw" % (number, disk) for number in range(phases) for disk in range(CLIENTS)]
    overlays = [os.path.basename(member["snapshot_file"]) for group in groups for member in group["members"]]
    there = daemon.image_names()
    expect(there == sorted(disks + overlays), "the files are not those of the committed groups: %s",
           set(there) ^ set(disks + overlays))


def load(daemon, turns, phases, seconds=3600):
    end = time.monotonic() + seconds
    groups, refused, number, open_before = [], 0, 0, descriptors(daemon)
    while number < phases and time.monotonic() < end:
        taken, more = phase(daemon, number, turns, end)
        groups, refused, number = groups + taken, refused + more, number + 1
        expect(taken, "no group was taken")
        judge_descriptors(daemon, *open_before)
        if number == WARM_UP_PHASES:
            memory_before, groups_before = memory_bytes(daemon), len(groups)
    expect(number > WARM_UP_PHASES, "too slow to be a test: %d phases", number)
    growth = memory_bytes(daemon) - memory_before
    members = (len(groups) - groups_before) * MEMBERS
    print("%d groups, %d refusals, %d phases, %.1f MiB more" % (len(groups), refused, number, growth / 2**20))
    if not is_sanitized():  # whose allocators keep what is freed
        expect(growth < MEMORY_GROWTH_MAX_BYTES + members * MEMBER_MAX_BYTES, "memory grew by %d bytes", growth)
    judge_files(daemon, number, groups)
    states = [group["state"] for group in daemon.list("/snapshot-groups")]
    expect(states.count("committed") == len(groups), "%d groups are committed, %d were told", states.count("committed"),
           len(groups))
    expect(set(states) <= {"committed", "aborted"}, "states: %s", set(states))
