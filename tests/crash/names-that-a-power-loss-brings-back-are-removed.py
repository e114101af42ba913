#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# An overlay is created under a marking name, which is gone before its group is committed. A power
# loss may bring the name back, also where directories were synced: it was seen on btrfs. A start
# removes those of the groups that were committed last; devices and groups are as before.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, checksums, expect, main

DEVICES = ("vda", "vdb")


def fnv(text):
    value = 0xcbf29ce484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001b3 % (1 << 64)
    return value


def bring_back(daemon, group):
    names = []
    for member in group["members"]:
        path = member["snapshot_file"]
        names.append(".snapgroupd-%s-%016x.tmp" % (group["id"], fnv(os.path.basename(path))))
        os.link(path, daemon.image(names[-1]))
    return names


def test():
    with Daemon() as daemon:
        daemon.start()
        for device in DEVICES:
            daemon.create_device(device, "qcow2", 1 << 20)
        daemon.snapshot("first", DEVICES)
        daemon.snapshot("second", DEVICES)
        groups = daemon.list("/snapshot-groups")
        before = set(daemon.image_names())
        daemon.kill()
        back = [name for group in groups for name in bring_back(daemon, group)]
        frozen = checksums([member["backing_file"] for group in groups for member in group["members"]])
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
        daemon.snapshot("third", DEVICES)
        daemon.stop()


main(test)
