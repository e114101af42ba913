#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Reads count too: one client writes 1, 2, 3, ... to the first disk; another one, on connections of its own, reads that
# number and writes what it saw to the second disk, whether or not the first client has had its reply. In every group
# snapshot taken meanwhile the second disk's number is no larger than the first one's.
import os
import struct
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, wait_until

GROUPS = 60
NAMES = ["source", "copy"]


def pack(number):
    return struct.pack("<Q", number) * 64


class Client(threading.Thread):
    def __init__(self, daemon, step):
        super().__init__(daemon=True)
        self.handles = [daemon.nbd(name) for name in NAMES]
        self.step = step
        self.number = 0
        self.stopping = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self.stopping.is_set():
                self.number = self.step(self.handles, self.number)
        except Exception as error:  # of libnbd; the test tells it
            self.error = error

    def await_progress(self):
        number = self.number
        wait_until(lambda: self.error or self.number > number + 3, "progress of a client")
        expect(self.error is None, "a client got an error: %s", self.error)


def write_next(handles, number):
    handles[0].pwrite(pack(number + 1), 0)
    return number + 1


def copy_number(handles, _):
    number = struct.unpack_from("<Q", bytes(handles[0].pread(512, 0)))[0]
    handles[1].pwrite(pack(number), 0)
    return number


def frozen_number(daemon, export):
    handle = daemon.nbd(export)
    number = struct.unpack_from("<Q", bytes(handle.pread(512, 0)))[0]
    handle.shutdown()
    return number


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("source", "raw", 1 << 20)
        daemon.create_device("copy", "qcow2", 1 << 20)
        clients = [Client(daemon, write_next), Client(daemon, copy_number)]
        for client in clients:
            client.start()
        for i in range(GROUPS):
            for client in clients:
                client.await_progress()
            daemon.snapshot("g%d" % i, NAMES[:: 1 if i % 2 else -1])
            source, copy = (frozen_number(daemon, "%s@g%d" % (name, i)) for name in NAMES)
            expect(copy <= source, "g%d holds %d, copied from %d", i, copy, source)
        for client in clients:
            client.stopping.set()
            client.join()
            for handle in client.handles:
                handle.shutdown()


main(test)
