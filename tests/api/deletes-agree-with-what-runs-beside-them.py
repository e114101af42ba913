#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A group is deleted while another one of the same device is being taken, and while the device is
# being detached. The new group's member is exported and reads as it was frozen; a job whose device
# went away is done all the same. Many rounds, since each is over in milliseconds.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, at_once, expect, group_body, main

ROUNDS = 30
SIZE_BYTES = 65536
BLOCK = 4096


def write(daemon, name, value):
    daemon.write(name, bytes([value]) * BLOCK, value * BLOCK)


def job_is_done(daemon, answer):
    job = daemon.await_job(answer)
    expect(job["state"] == "done", "%s", job)


def group_beside(daemon, name):
    """Who comes second is refused."""
    taken, deleted = at_once(lambda: daemon.request("POST", "/snapshot-groups", group_body(name + "-b", [name])),
                             lambda: daemon.request("DELETE", "/snapshot-groups/" + name + "-a"))
    job_is_done(daemon, deleted)
    if taken.status != 201:
        expect(taken.body["code"] == "DeviceInUse", "%s", taken)
        return False
    handle = daemon.nbd("%s@%s-b" % (name, name))
    expect(bytes(handle.pread(3 * BLOCK, 0)) == bytes(BLOCK) + b"\1" * BLOCK + b"\2" * BLOCK, "%s-b reads wrong", name)
    handle.shutdown()
    return True


def detach_beside(daemon, name):
    daemon.snapshot(name + "-c", [name])
    detached, deleted = at_once(lambda: daemon.request("DELETE", "/devices/" + name),
                                lambda: daemon.request("DELETE", "/snapshot-groups/" + name + "-c"))
    expect(detached.status == 204 or detached.body["code"] == "DeviceInUse", "%s", detached)
    job_is_done(daemon, deleted)


def test():
    taken = 0
    with Daemon() as daemon:
        daemon.start()
        for number in range(ROUNDS):
            name = "d%d" % number
            daemon.create_device(name, "qcow2", SIZE_BYTES)
            write(daemon, name, 1)
            daemon.snapshot(name + "-a", [name])
            write(daemon, name, 2)
            taken += group_beside(daemon, name)
            detach_beside(daemon, name)
    print("%d of %d groups were taken" % (taken, ROUNDS))


main(test)
