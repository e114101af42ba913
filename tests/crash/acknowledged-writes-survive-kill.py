#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Four disks with different formats and clusters, eight clients that write, zero and sometimes
# flush, and groups of all disks meanwhile. The daemon is killed at a random moment, KILLS times
# (default 10). Every time
#   - qemu-img finds no error in what the kill left, nor in what the restart made of it;
#   - every block of every disk has the content that was last acknowledged, flushed or not, except
#     for the one block that each client was writing, which may be partly new;
#   - no journal is left but those of the tops, and none at all after SIGTERM.
import array
import os
import random
import statistics
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, group_body, main, qcow2_check, run

KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("SEED", "20121"))
SIZE_BYTES = 32 << 20
BLOCK_BYTES = 4096
BLOCKS = SIZE_BYTES // BLOCK_BYTES
WRITERS = 2  # of each disk
GROUPS_MAX = 24  # then everything starts afresh
MOMENT_S = 0.5  # a kill comes within so many seconds
OPTIONS = {"vda": "cluster_size=64k", "vdb": "cluster_size=512", "vdc": "cluster_size=16k,extended_l2=on",
           "vdd": "cluster_size=2M"}


def content(number):
    return array.array("Q", [number]).tobytes() * (BLOCK_BYTES // 8)


class Client(threading.Thread):
    """Has every WRITERS-th block to itself; remembers what it was told each holds, and the one
    under way."""

    def __init__(self, daemon, name, position, told, seed):
        super().__init__(daemon=True)
        self.handle = daemon.nbd(name)
        self.position = position
        self.told = told
        self.random = random.Random(seed)
        self.number = max(told) + 1
        self.under_way = None
        self.requests = 0

    def run(self):
        import nbd
        try:
            while True:
                self.request()
                self.requests += 1
        except nbd.Error:
            self.handle = None

    def request(self):
        draw = self.random.random()
        if draw < 0.005:
            self.handle.flush()
            return
        block = self.random.randrange(BLOCKS // WRITERS) * WRITERS + self.position
        number = 0 if draw < 0.1 else self.number * WRITERS + self.position
        self.number += 1
        self.under_way = (block, number)
        if number:
            self.handle.pwrite(content(number), block * BLOCK_BYTES)
        else:
            self.handle.zero(BLOCK_BYTES, block * BLOCK_BYTES)
        self.told[block] = number
        self.under_way = None


class Groups(threading.Thread):
    def __init__(self, daemon, kill):
        super().__init__(daemon=True)
        self.daemon_, self.kill, self.taken = daemon, kill, 0

    def run(self):
        try:
            for i in range(3):
                answer = self.daemon_.request("POST", "/snapshot-groups",
                                              group_body("g%d.%d" % (self.kill, i), list(OPTIONS)))
                expect(answer.status == 201, "a group was refused: %s", answer)
                self.taken += 1
                time.sleep(0.05)
        except OSError:
            pass  # killed
        except Exception as error:  # an answer that was cut short
            if "IncompleteRead" not in type(error).__name__ and "Remote" not in type(error).__name__:
                raise


class Test:
    def __init__(self, daemon):
        self.daemon = daemon
        self.groups = self.requests = self.under_way = 0
        self.start_s = []
        self.begin_afresh()

    def begin_afresh(self):
        self.told = {name: [0] * BLOCKS for name in OPTIONS}
        self.daemon.start()
        for name, options in OPTIONS.items():
            run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options,
                self.daemon.image(name + ".qcow2"), str(SIZE_BYTES))
            self.daemon.attach_device(name, name + ".qcow2", "qcow2")

    def end(self):
        self.daemon.stop()
        self.check_images(len(self.daemon.image_names()))
        left = os.listdir(os.path.join(self.daemon.runtime, "journals"))
        expect(not left, "SIGTERM leaves journals: %s", left)
        self.daemon.wipe()

    def check_images(self, count):
        """The newest ones."""
        names = [name for name in self.daemon.image_names() if not name.startswith(".")]
        names.sort(key=lambda name: os.stat(self.daemon.image(name)).st_mtime)
        for name in names[-count:]:
            qcow2_check(self.daemon.image(name))

    def step(self, kill, source):
        clients = [Client(self.daemon, name, position, self.told[name], source.random())
                   for name in OPTIONS for position in range(WRITERS)]
        groups = Groups(self.daemon, kill)
        for thread in clients + [groups]:
            thread.start()
        time.sleep(source.random() * MOMENT_S)  # the test draws the moment; nothing is awaited
        self.daemon.kill()
        for thread in clients + [groups]:
            thread.join()
        self.check_images(2 * len(OPTIONS))
        began = time.monotonic()
        self.daemon.start()
        self.start_s.append(time.monotonic() - began)
        for client in clients:
            self.requests += client.requests
            self.under_way += client.under_way is not None
        for name in OPTIONS:
            self.verify(name, [client.under_way for client in clients if client.told is self.told[name]])
        self.check_images(2 * len(OPTIONS))
        journals = os.listdir(os.path.join(self.daemon.runtime, "journals"))
        expect(len(journals) == len(OPTIONS), "journals: %s", journals)

    def verify(self, name, under_way):
        handle = self.daemon.nbd(name)
        half = SIZE_BYTES // 2
        there = bytes(handle.pread(half, 0)) + bytes(handle.pread(half, half))
        handle.shutdown()
        for block, number in filter(None, under_way):
            words = array.array("Q", there[block * BLOCK_BYTES:(block + 1) * BLOCK_BYTES])
            expect(set(words) <= {number, self.told[name][block]}, "%s, block %d: holds %s, not %d or %d",
                   name, block, set(words), number, self.told[name][block])
            self.told[name][block] = None
        for block, number in enumerate(self.told[name]):
            found = there[block * BLOCK_BYTES:(block + 1) * BLOCK_BYTES]
            if number is None:  # settle it
                self.told[name][block] = 0
                handle = self.daemon.nbd(name)
                handle.pwrite(content(0), block * BLOCK_BYTES)
                handle.shutdown()
            elif found != content(number):
                expect(False, "%s, block %d: acknowledged %d, holds %s", name, block, number,
                       set(array.array("Q", found)))


def test():
    source = random.Random(SEED)
    with Daemon() as daemon:
        kills = Test(daemon)
        for kill in range(KILLS):
            kills.step(kill, source)
            kills.groups = len(daemon.list("/snapshot-groups"))
            if kills.groups > GROUPS_MAX and kill + 1 < KILLS:
                kills.end()
                kills.begin_afresh()
        kills.end()
        print("%d kills, %d requests acknowledged, %d under way; start to ready: median %.0f ms, most %.0f ms" %
              (KILLS, kills.requests, kills.under_way, statistics.median(kills.start_s) * 1e3,
               max(kills.start_s) * 1e3))


main(test)
