#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A delete of a group fails when all has been merged and the file that is left over cannot be
# removed, and says so. While the file system of that file is away, neither a start nor the call
# repeated takes the file for removed: the job fails again, and the group is not deleted. Deletes of
# other groups are done meanwhile. Once the file can be removed, it goes, and the group with it, by
# itself: in the daemon in which the job failed, and in a later one.
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import FileSystem, own_mounts
from snapgroupd import Daemon, expect, main, run, wait_until

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


def fail_to_remove(daemon, group, file):
    run("chattr", "+i", file)
    job = end_of_delete(daemon, group)
    expect(job["state"] == "failed", "the file was removed: %s", job)
    expect("tried again" in job["error"]["detail"] and file in job["error"]["detail"], "%s", job)
    expect(all(merge["stage"] in ("redirected", "done") for merge in job["merges"]), "%s", job)


def await_deleted(daemon, group, file):
    wait_until(lambda: state_of(daemon, group) == "deleted", "%s to be deleted" % group)
    expect(not os.path.exists(file), "%s is left", file)


def test():
    with tempfile.TemporaryDirectory(prefix="sg.") as directory, Daemon() as daemon, \
            FileSystem("ext4", directory, os.path.join(daemon.images, "m")) as storage:
        daemon.start()
        ids = take_groups(daemon)
        left = os.path.join(storage.mountpoint, "vda-1.qcow2")
        fail_to_remove(daemon, ids["vda-1"], left)
        expect(state_of(daemon, ids["vda-1"]) == "deleting", "the group is deleted")
        daemon.stop()
        run("chattr", "-i", left)
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
        await_deleted(daemon, ids["vda-1"], left)
        other = daemon.image("vdb-2.qcow2")
        daemon.snapshot("vdb-3", ["vdb"])
        fail_to_remove(daemon, ids["vdb-2"], other)
        run("chattr", "-i", other)
        await_deleted(daemon, ids["vdb-2"], other)
        handle = daemon.nbd("vda")
        expect(handle.pread(65536, 0) == b"\x02" * 65536, "vda has changed")
        handle.shutdown()
        daemon.stop()


own_mounts()
main(test)
