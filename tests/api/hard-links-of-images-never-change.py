#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A frozen image that has a second name is not merged into when its group is deleted: under that
# name it is a backup, or the base of another disk. Once the name is gone it is merged into again: a
# first name of its own creation, which a power failure may leave, does not count.
import os
import sys
import uuid

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, checksum, expect, main, run, wait_until

MIB = 1 << 20


def group(daemon, name):
    handle = daemon.nbd("vda")
    handle.pwrite(name.encode() * 2048, 4096)
    handle.shutdown()
    daemon.snapshot(name, ["vda"])


def delete(daemon, name):
    """Returns what the dry run and the job kept, and the chain that is left."""
    plan = daemon.request("DELETE", "/snapshot-groups/%s?dry_run=true" % name)
    expect(plan.status == 200, "%s", plan)
    job = daemon.request("DELETE", "/snapshot-groups/" + name).body["id"]
    wait_until(lambda: daemon.get("/jobs/" + job)["state"] not in ("queued", "running"), "the job")
    ended = daemon.get("/jobs/" + job)
    expect(ended["state"] == "done" and ended["kept"] == plan.body["kept"], "%s, %s", plan, ended)
    return ended["kept"], daemon.chain("vda")


def test():
    with Daemon() as daemon:
        daemon.start()
        image, link = daemon.image("vda.qcow2"), daemon.image("link.qcow2")
        daemon.create_device("vda", "qcow2", MIB)
        group(daemon, "g1")
        os.link(image, link)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", link, "-F", "qcow2",
            daemon.image("vdb.qcow2"))
        daemon.attach_device("vdb", "vdb.qcow2", "qcow2")
        expect(daemon.request("DELETE", "/devices/vdb").status == 204, "vdb")
        before = checksum(link)
        group(daemon, "g2")
        kept, chain = delete(daemon, "g1")
        expect([item["image"] for item in kept] == [image], "%s", kept)
        expect("2 names (hard links)" in kept[0]["because"], "%s", kept)
        expect(image in chain and checksum(link) == before, "the image has changed: %s", chain)
        os.unlink(link)
        os.link(image, daemon.image(".snapgroupd-%s-0123456789abcdef.tmp" % uuid.uuid4()))
        group(daemon, "g3")
        kept, chain = delete(daemon, "g2")
        expect(kept == [] and chain[-1] == image and len(chain) == 2, "%s, %s", kept, chain)


main(test)
