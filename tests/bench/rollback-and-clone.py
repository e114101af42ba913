#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# serial
"""How long a rollback of a group and a clone of a member take, as a client sees it.

usage: rollback-and-clone.py [ROUNDS] [DEVICES]    (default: 5 rounds of 16 devices)

In each round every device is written to, all are rolled back to the group that was taken first,
and one member of that group becomes a device, which is detached with its files. Prints the machine,
and of the rounds the median and the longest. The targets for 16 devices are 100 ms and 20 ms. No
peer has such a call.
"""
import os
import statistics
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import nbd  # noqa: E402
from peers import arguments  # noqa: E402
from snapgroupd import Daemon  # noqa: E402

DISK_BYTES = 1 << 30


def write(uri, number):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    handle.pwrite(os.urandom(1 << 20), number << 20)
    handle.shutdown()


def timed(request, *arguments, **more):
    """The seconds until it is answered with 201."""
    begun = time.monotonic()
    answer = request(*arguments, **more)
    seconds = time.monotonic() - begun
    if answer.status != 201:
        raise SystemExit("%s: %s" % (arguments[:2], answer))
    return seconds


def main():
    rounds, count = arguments(16, "%d devices")
    names = ["d%d" % number for number in range(count)]
    rollbacks, clones = [], []
    with Daemon() as daemon:
        daemon.start()
        for name in names:
            daemon.create_device(name, "qcow2", DISK_BYTES)
            write(daemon.nbd_uri(name), 0)
        daemon.snapshot("first", names)
        for number in range(rounds):
            for name in names:
                write(daemon.nbd_uri(name), number + 1)
            rollbacks.append(timed(daemon.request, "POST", "/snapshot-groups/first/rollbacks", {"name": "r%d" % number}))
            clones.append(timed(daemon.request, "POST", "/devices", {
                "name": "clone", "image": "clone.qcow2", "from": {"group": "first", "device": names[0]}}))
            daemon.request("DELETE", "/devices/clone?files=delete")
    for what, seconds in (("rollback of %d devices" % count, rollbacks), ("clone", clones)):
        print("%s: median %.1f ms, longest %.1f ms" % (what, 1000 * statistics.median(seconds), 1000 * max(seconds)), flush=True)


main()
