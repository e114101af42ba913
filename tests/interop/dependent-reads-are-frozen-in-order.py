#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Reads count too: one client writes 1, 2, 3, ... to the first disk; another one, on connections of
# its own, reads that number and writes it to the second disk, whether or not the first client has
# its reply. In every group snapshot taken meanwhile the number on the second disk is at most that
# on the first.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from dependent import Client, batches, frozen_numbers, read_number, sector
from snapgroupd import Daemon, expect, main

GROUPS = 60
NAMES = ["source", "copy"]


def write_next(handles, number):
    handles[0].pwrite(sector(number + 1), 0)
    return number + 1


def copy_number(handles, _):
    number = read_number(handles[0])
    handles[1].pwrite(sector(number), 0)
    return number


def take_batch(daemon, batch):
    daemon.create_device("source", "raw", 1 << 20)
    daemon.create_device("copy", "qcow2", 1 << 20)
    clients = [Client(daemon, NAMES, step) for step in (write_next, copy_number)]
    for client in clients:
        client.start()
    for i in batch:
        for client in clients:
            client.await_number(client.number + 4)
        daemon.snapshot("g%d" % i, NAMES[:: 1 if i % 2 else -1])
        source, copy = frozen_numbers(daemon, NAMES, "g%d" % i)
        expect(copy <= source, "g%d holds %d, copied from %d", i, copy, source)
    for client in clients:
        client.stop()


def test():
    for batch in batches(GROUPS):
        with Daemon() as daemon:
            daemon.start()
            take_batch(daemon, batch)


main(test)
