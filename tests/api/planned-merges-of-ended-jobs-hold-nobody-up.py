#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A delete fails since there is no room for its merge, of which nothing was pushed. The delete of
# another group of the disk, whose merge has room, does not fail with it; nor does the next one of
# the same group, once there is room. The disk reads as before.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts, small_directory
from snapgroupd import Daemon, expect, main

MIB = 1 << 20


def write(daemon, byte, offset, length):
    handle = daemon.nbd("vda")
    handle.pwrite(bytes([byte]) * length, offset)
    handle.flush()
    handle.shutdown()


def content(daemon):
    handle = daemon.nbd("vda")
    data = handle.pread(16 * MIB, 0)
    handle.shutdown()
    return data


def fill(small):
    fs = os.statvfs(small)
    with open(os.path.join(small, "filler"), "wb") as filler:
        filler.write(bytes(fs.f_bfree * fs.f_frsize - 2 * MIB))


def delete(daemon, group):
    return daemon.await_job(daemon.request("DELETE", "/snapshot-groups/" + group))


def snapshot(daemon, group):
    """Its overlay is beside the daemon's other images, not on the small file system."""
    answer = daemon.request("POST", "/snapshot-groups", {"name": group, "devices": [
        {"device": "vda", "snapshot_file": "vda+%s.qcow2" % group}]})
    expect(answer.status == 201, "%s", answer)


def steps(daemon, small):
    answer = daemon.request("POST", "/devices", {"name": "vda", "image": "small/vda.qcow2", "format": "qcow2", "size_bytes": 16 * MIB})
    expect(answer.status == 201, "%s", answer)
    snapshot(daemon, "oldest")
    write(daemon, 1, 0, 8 * MIB)
    for number, group in enumerate(("middle", "newest")):
        snapshot(daemon, group)
        write(daemon, 2 + number, number * MIB, 65536)
    before = content(daemon)
    fill(small)
    job = delete(daemon, "oldest")
    expect((job["state"], job["error"] and job["error"]["status"]) == ("failed", 507), "%s", job)
    expect([merge["stage"] for merge in job["merges"]] == ["planned"], "%s", job)
    job = delete(daemon, "newest")
    expect(job["state"] == "done" and job["merges"], "%s", job)
    expect(content(daemon) == before, "the disk has changed")
    expect(delete(daemon, "oldest")["error"]["status"] == 507, "there is no room yet")
    os.unlink(os.path.join(small, "filler"))
    job = delete(daemon, "oldest")
    expect(job["state"] == "done" and job["progress"]["done_bytes"] == 8 * MIB, "%s", job)
    expect(content(daemon) == before, "the disk has changed")


def test():
    with Daemon() as daemon, small_directory(daemon, "20M") as small:
        daemon.start()
        steps(daemon, small)
        daemon.stop()


own_mounts()
main(test)
