#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A delete of a group fails when all has been merged and the file that is left over cannot be
# removed. While the file system of that file is away, neither a start nor the call repeated takes
# the file for removed: the job fails again, and the group is not deleted. Deletes of other groups
# are done meanwhile. Once the file system is back, the call repeated removes the file.
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import FileSystem, own_mounts
from snapgroupd import Daemon, expect, main, wait_until
from strace import Strace, threads_named

SIZE_BYTES = 1 << 20
DIRECTORIES = {"vda": "m/", "vdb": ""}


def end_of_delete(daemon, group):
    answer = daemon.request("DELETE", "/snapshot-groups/" + group)
    expect(answer.status == 202, "DELETE of %s: %s", group, answer)
    path = answer.headers["Location"]
    wait_until(lambda: daemon.get(path)["state"] not in ("queued", "running"), "the job to end")
    return daemon.get(path)


def state_of(daemon, group):
    return daemon.get("/snapshot-groups/" + group)["state"]


def take_groups(daemon):
    """Two of each device; their ids by name."""
    ids = {}
    for device, directory in DIRECTORIES.items():
        daemon.create_device(device, "qcow2", SIZE_BYTES, image=directory + device + ".qcow2")
        handle = daemon.nbd(device)
        for number in (1, 2):
            name = "%s-%d" % (device, number)
            handle.pwrite(bytes([number]) * 65536, 0)
            body = {"name": name, "devices": [{"device": device, "snapshot_file": directory + name + ".qcow2"}]}
            answer = daemon.request("POST", "/snapshot-groups", body)
            expect(answer.status == 201, "%s: %s", name, answer)
            ids[name] = answer.body["id"]
        handle.shutdown()
    return ids


def fail_to_remove(daemon, group):
    thread, = threads_named(daemon.pid, "jobs")
    with Strace(thread, "inject=unlinkat:error=EIO", output=os.path.join(daemon.directory, "strace")) as strace:
        job = end_of_delete(daemon, group)
    expect(strace.injected and job["state"] == "failed", "the file was removed: %s", job)
    expect([merge["stage"] for merge in job["merges"]] == ["redirected"], "%s", job)


def test():
    with tempfile.TemporaryDirectory(prefix="sg.") as directory, Daemon() as daemon, \
            FileSystem("ext4", directory, os.path.join(daemon.images, "m")) as storage:
        daemon.start()
        ids = take_groups(daemon)
        left = os.path.join(storage.mountpoint, "vda-1.qcow2")
        fail_to_remove(daemon, ids["vda-1"])
        daemon.stop()
        storage.away()
        daemon.start()
        job = end_of_delete(daemon, ids["vda-1"])
        expect(job["state"] == "failed", "what is away was removed: %s", job)
        expect(state_of(daemon, ids["vda-1"]) == "deleting", "the group is deleted")
        job = end_of_delete(daemon, ids["vdb-1"])
        expect(job["state"] == "done", "another delete: %s", job)
        expect(state_of(daemon, ids["vdb-1"]) == "deleted", "another group is not deleted")
        daemon.stop()
        storage.back()
        expect(os.path.exists(left), "the file is gone")
        daemon.start()
        job = end_of_delete(daemon, ids["vda-1"])
        expect(job["state"] == "done" and state_of(daemon, ids["vda-1"]) == "deleted", "%s", job)
        expect(not os.path.exists(left), "the file is left")
        handle = daemon.nbd("vda")
        expect(handle.pread(65536, 0) == b"\x02" * 65536, "vda has changed")
        handle.shutdown()
        daemon.stop()


own_mounts()
main(test)
