#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# An overlay is created under a marking name, which is gone before its group is committed. A power
# loss may bring the name back, also where directories were synced: it was seen on btrfs, also of
# overlays that were merged and removed since then. A start removes those of the groups that were
# committed, deleted, or cut for a job last, and likewise the names under which the last copies were
# written, whether they were made or cancelled; devices, groups, copies, and what somebody else has
# put at the path of a copy are as before.
import contextlib
import os
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, checksums, expect, main, wait_until

DEVICES = ("vda", "vdb")
SIZE_BYTES = 4 << 20


def fnv(text):
    value = 0xcbf29ce484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001b3 % (1 << 64)
    return value


def members(daemon):
    """(group, overlay), of all groups that the database has."""
    with contextlib.closing(sqlite3.connect(os.path.join(daemon.state, "snapgroupd.db"))) as database:
        return database.execute("SELECT group_id, snapshot_file FROM members").fetchall()


def bring_back(daemon, group, path):
    name = ".snapgroupd-%s-%016x.tmp" % (group, fnv(os.path.basename(path)))
    with open(daemon.image(name), "wb") as image:
        image.write(b"brought back")
    return name


def delete(daemon, name):
    answer = daemon.request("DELETE", "/snapshot-groups/" + name)
    expect(answer.status == 202, "DELETE of %s: %s", name, answer)
    wait_until(lambda: daemon.get(answer.headers["Location"])["state"] == "done", "the end of the job")


def copy(daemon, device, image):
    answer = daemon.request("POST", "/snapshot-groups/second/copies",
                            {"device": device, "image": image, "format": "raw"})
    expect(answer.status == 202, "a copy: %s", answer)
    return answer.headers["Location"]


def copies(daemon):
    """One that was made, and one that was cancelled; its file is another one by now."""
    made = copy(daemon, "vda", "made.raw")
    wait_until(lambda: daemon.get(made)["state"] == "done", "the end of the copy")
    with contextlib.closing(sqlite3.connect(os.path.join(daemon.state, "snapgroupd.db"))) as database:
        database.execute("CREATE TRIGGER slow AFTER INSERT ON jobs BEGIN "
                         "UPDATE jobs SET rate_bytes_per_second = 1 WHERE id = NEW.id; END")
    cancelled = copy(daemon, "vdb", "cancelled.raw")
    answer = daemon.request("PATCH", cancelled, {"state": "cancelled"})
    expect(answer.status == 200, "cancelling: %s", answer)
    wait_until(lambda: not [name for name in daemon.image_names() if name.startswith(".")], "its file to go")
    with open(daemon.image("cancelled.raw"), "wb") as image:
        image.write(b"somebody else's")
    return [(os.path.basename(job), daemon.image(image)) for job, image in
            ((made, "made.raw"), (cancelled, "cancelled.raw"))]


def test():
    with Daemon() as daemon:
        daemon.start()
        for device in DEVICES:
            daemon.create_device(device, "qcow2", SIZE_BYTES)
            handle = daemon.nbd(device)
            handle.pwrite(b"x" * SIZE_BYTES, 0)
            handle.shutdown()
        for name in ("first", "second", "third"):
            daemon.snapshot(name, DEVICES)
        delete(daemon, "first")
        delete(daemon, "third")  # which cuts
        of_copies = copies(daemon)
        groups = daemon.list("/snapshot-groups")
        of_groups = [group for group in groups if group["state"] == "committed"]
        expect([group["name"] for group in of_groups] == ["second"], "groups: %s", groups)
        before = set(daemon.image_names())
        daemon.kill()
        rows = members(daemon)
        expect(len({group for group, _ in rows}) == 4, "groups: %s", rows)
        back = [bring_back(daemon, *row) for row in rows + of_copies]
        frozen = checksums([member["backing_file"] for group in of_groups for member in group["members"]] +
                           [image for _, image in of_copies])
        expect(set(daemon.image_names()) == before | set(back), "names: %s", daemon.image_names())
        daemon.start()
        wait_until(lambda: set(daemon.image_names()) == before, "the names to go")
        expect(checksums(frozen) == frozen, "a frozen image, or a copy, has changed")
        expect(daemon.list("/snapshot-groups") == groups, "the groups have changed")
        for device in DEVICES:
            handle = daemon.nbd(device)
            handle.pwrite(b"x" * 512, 0)
            handle.flush()
            handle.shutdown()
        daemon.snapshot("fourth", DEVICES)
        daemon.stop()


main(test)
