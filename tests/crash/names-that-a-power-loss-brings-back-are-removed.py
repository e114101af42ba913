#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# An overlay is created under a marking name, which is gone before its group is committed. A power
# loss may bring the name back, also where directories were synced: it was seen on btrfs, also of
# overlays that were merged and removed since then. A start removes those of the groups that were
# committed, deleted, or cut for a job last; devices and groups are as before.
import contextlib
import os
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, checksums, expect, main, wait_until

DEVICES = ("vda", "vdb")


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


def test():
    with Daemon() as daemon:
        daemon.start()
        for device in DEVICES:
            daemon.create_device(device, "qcow2", 1 << 20)
        for name in ("first", "second", "third"):
            daemon.snapshot(name, DEVICES)
        delete(daemon, "first")
        delete(daemon, "third")  # which cuts
        groups = daemon.list("/snapshot-groups")
        of_groups = [group for group in groups if group["state"] == "committed"]
        expect([group["name"] for group in of_groups] == ["second"], "groups: %s", groups)
        before = set(daemon.image_names())
        daemon.kill()
        rows = members(daemon)
        expect(len({group for group, _ in rows}) == 4, "groups: %s", rows)
        back = [bring_back(daemon, *row) for row in rows]
        frozen = checksums([member["backing_file"] for group in of_groups for member in group["members"]])
        expect(set(daemon.image_names()) == before | set(back), "names: %s", daemon.image_names())
        daemon.start()
        expect(set(daemon.image_names()) == before, "names: %s", sorted(daemon.image_names()))
        expect(checksums(frozen) == frozen, "a frozen image has changed")
        expect(daemon.list("/snapshot-groups") == groups, "the groups have changed")
        for device in DEVICES:
            handle = daemon.nbd(device)
            handle.pwrite(b"x" * 512, 0)
            handle.flush()
            handle.shutdown()
        daemon.snapshot("fourth", DEVICES)
        daemon.stop()


main(test)
