#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A daemon is killed while it takes a group, or creates a device, whose new files lie on a file
# system that is away at the next starts. The files are removed as soon as the file system is back,
# without a restart; until then the group is `aborting`, the name of the device stays in use, and
# nothing else waits. Where the file system is there and the files are not, there is nothing to wait
# for.
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import FileSystem, own_mounts
from killwalk import Kill, ask_and_kill
from snapgroupd import Daemon, expect, main, wait_until
from strace import run_by, served_by

SIZE_BYTES = 4 << 20
DEVICES = ("vda", "vdb")


def files(storage):
    return [name for name in os.listdir(storage.mountpoint) if "vd" in name or "snapgroupd" in name]


class Group:
    link = 2  # the first overlay has its name
    find_thread = staticmethod(run_by)

    @staticmethod
    def request():
        return "POST", "/snapshot-groups", {"name": "g", "devices": [
            {"device": device, "snapshot_file": "m/%s.qcow2" % device} for device in DEVICES]}

    @staticmethod
    def must_wait(daemon):
        states = [group["state"] for group in daemon.list("/snapshot-groups") if group["name"] == "g"]
        expect(states == ["aborting"], "groups are %s", states)

    @staticmethod
    def take_name(daemon):
        daemon.snapshot("g", DEVICES)

    @staticmethod
    def is_over(daemon):
        return [group["state"] for group in daemon.list("/snapshot-groups") if group["name"] == "g"] == ["aborted"]


class Creation:
    link = 1
    find_thread = staticmethod(served_by)

    @staticmethod
    def request():
        return "POST", "/devices", {"name": "vdc", "image": "m/vdc.raw", "format": "raw", "size_bytes": SIZE_BYTES}

    @staticmethod
    def must_wait(daemon):
        answer = daemon.request("POST", "/devices", {"name": "vdc", "image": "vdc.raw", "format": "raw",
                                                     "size_bytes": SIZE_BYTES})
        expect(answer.status == 409 and answer.body["code"] == "DeviceExists", "POST /devices: %s", answer)
        expect(daemon.request("GET", "/devices/vdc").status == 404, "the device is shown")
        answer = daemon.request("DELETE", "/devices/vdc")
        expect(answer.status == 409 and answer.body["code"] == "UnflushedData", "DELETE /devices/vdc: %s", answer)

    @staticmethod
    def take_name(daemon):
        answer = daemon.request("DELETE", "/devices/vdc", {"discard_unflushed": True})
        expect(answer.status == 204, "DELETE /devices/vdc, giving the file up: %s", answer)
        daemon.create_device("vdc", "raw", SIZE_BYTES)

    @staticmethod
    def is_over(daemon):
        answer = daemon.request(*Creation.request())
        if answer.status != 201:
            expect(answer.status == 409 and answer.body["code"] == "DeviceExists", "POST /devices: %s", answer)
            return False
        expect(daemon.request("DELETE", "/devices/vdc").status == 204, "DELETE /devices/vdc")
        os.unlink(daemon.image("m/vdc.raw"))
        return True


def others_are_served(daemon, name):
    for device in DEVICES:
        expect(daemon.get("/devices/" + device)["state"] == "online", "%s is not online", device)
        handle = daemon.nbd(device)
        handle.pwrite(b"x" * 512, 0)
        handle.shutdown()
    daemon.snapshot(name, DEVICES)


def one_round(kind, attempt, how):
    with tempfile.TemporaryDirectory(prefix="sg.") as directory, Daemon() as daemon, \
            FileSystem(kind, directory, os.path.join(daemon.images, "m")) as storage:
        try:
            begun_and_killed(daemon, attempt)
            expect(files(storage), "the killed daemon left no file")
            if how == "away":
                storage.away()
                for restart in ("first", "second"):
                    daemon.start()
                    attempt.must_wait(daemon)
                    others_are_served(daemon, restart)
                    attempt.must_wait(daemon)
                    if restart == "first":
                        daemon.stop()
                storage.back()
            else:
                if how == "removed":
                    for name in files(storage):
                        os.unlink(os.path.join(storage.mountpoint, name))
                daemon.start()
                expect(attempt.is_over(daemon), "not over at the start")
            wait_until(lambda: attempt.is_over(daemon), "the attempt is over")
            expect(not files(storage), "left: %s", files(storage))
            others_are_served(daemon, "after")
            daemon.stop()
        finally:
            if daemon.process:
                daemon.kill()


def begun_and_killed(daemon, attempt):
    daemon.start()
    for device in DEVICES:
        daemon.create_device(device, "raw", SIZE_BYTES)
    kill = Kill(1, "linkat")
    ask_and_kill(daemon, kill, attempt.find_thread, ("linkat", attempt.link), *attempt.request())
    expect(not kill.answer, "answered %s", kill.answer)


def lost_storage_blocks_no_name(attempt):
    """Storage that never returns: the name can be taken again; files there are not touched."""
    with tempfile.TemporaryDirectory(prefix="sg.") as directory, Daemon() as daemon, \
            FileSystem("ext4", directory, os.path.join(daemon.images, "m")) as storage:
        try:
            begun_and_killed(daemon, attempt)
            left = files(storage)
            storage.away()
            daemon.start()
            attempt.must_wait(daemon)
            attempt.take_name(daemon)
            daemon.stop()
            storage.back()
            expect(left and files(storage) == left, "%s is left of %s", files(storage), left)
        finally:
            if daemon.process:
                daemon.kill()


def test():
    for attempt in (Group, Creation):
        lost_storage_blocks_no_name(attempt)
    for kind in ("ext4", "ext4-128", "xfs", "btrfs"):
        for attempt in (Group, Creation):
            for how in ("away", "removed", "there"):
                if how != "away" and kind != "ext4":
                    continue
                print("%s, %s, %s" % (kind, attempt.__name__, how), flush=True)
                one_round(kind, attempt, how)


own_mounts()
main(test)
