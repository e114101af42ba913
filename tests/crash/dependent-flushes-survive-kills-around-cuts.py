#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A client writes number k to disk k mod 4 and flushes it, each after k-1 was durable; a group of
# all disks is taken meanwhile, and the daemon is killed somewhere around the cut, 16 times. After
# each restart the disks hold consecutive numbers up to the last one that was flushed, or one more;
# so does the group, if there is one, from those that were flushed before it was asked for. (What a
# power failure leaves of such a client is in lib/powerload.py.)
import os
import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from dependent import Client, batches, frozen_numbers, is_consecutive, read_number, sector
from gates import Call
from snapgroupd import Daemon, expect, group_body, main, wait_until

GROUPS = 16
DISKS = 4
WRITES = 40  # that are made, at most, between the call for a group and the kill
SEED = int(os.environ.get("SEED", "11"))


def write_and_flush(handles, number):
    import nbd
    number += 1
    handle = handles[number % len(handles)]
    if number // len(handles) % 2:
        handle.pwrite(sector(number), 0)
        handle.flush()
    else:
        handle.pwrite(sector(number), 0, nbd.CMD_FLAG_FUA)
    return number


def live_numbers(daemon, names):
    handles = [daemon.nbd(name) for name in names]
    numbers = [read_number(handle) for handle in handles]
    for handle in handles:
        handle.shutdown()
    return numbers


def verify(what, numbers, oldest, newest):
    expect(is_consecutive(numbers), "%s: the numbers have a gap: %s", what, numbers)
    expect(oldest <= max(numbers) <= newest, "%s: number %d, durable %d, issued %d", what, max(numbers), oldest, newest)


def verify_group(daemon, names, group, oldest, newest, is_answered):
    rows = [row for row in daemon.list("/snapshot-groups") if row["name"] == group]
    committed = bool(rows) and rows[0]["state"] == "committed"
    expect(committed or not is_answered, "%s was answered and is %s", group, rows)
    expect(not rows or rows[0]["state"] in ("committed", "aborted"), "%s is %s", group, rows)
    if committed:
        verify(group, frozen_numbers(daemon, names, group), oldest, newest)
    return committed


def take_and_kill(daemon, names, number, group, writes):
    """The number that the disks have then, and whether there is a group."""
    client = Client(daemon, names, write_and_flush)
    client.number = number
    client.start()
    client.await_number(number + DISKS)
    oldest = client.number
    call = Call(daemon, "POST", "/snapshot-groups", group_body(group, names))
    until = client.number + writes
    wait_until(lambda: call.result or client.number >= until or client.error, "writes during the group")
    daemon.kill()
    client.join()
    call.join()
    daemon.start()
    newest = client.number + 1
    numbers = live_numbers(daemon, names)
    verify("the live disks", numbers, client.number, newest)
    return max(numbers), verify_group(daemon, names, group, oldest, newest, call.result is not None)


def kill_in_batch(daemon, batch, source):
    """How many of the groups are committed."""
    names = ["disk%d" % i for i in range(DISKS)]
    for number, name in enumerate(names):
        daemon.create_device(name, "qcow2" if number % 2 else "raw", 1 << 20)
        handle = daemon.nbd(name)
        handle.pwrite(sector(number), 0)
        handle.shutdown()
    number, committed = DISKS - 1, 0
    for i in batch:
        number, is_committed = take_and_kill(daemon, names, number, "g%d" % i, source.randrange(WRITES))
        committed += is_committed
    return committed


def test():
    source, committed = random.Random(SEED), 0
    for batch in batches(GROUPS):
        with Daemon() as daemon:
            daemon.start()
            committed += kill_in_batch(daemon, batch, source)
    print("%d groups of %d are committed" % (committed, batch[-1] + 1))


main(test)
