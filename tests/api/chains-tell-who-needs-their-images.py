#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# `kept_for` of each image of a chain: the group that froze it, and what else is on top of it, on
# other branches: other devices, groups, and what detached devices left. It is the same in lists,
# never stale, and there after a restart. Where many clones are on one image, a few are named.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main

SIZE_BYTES = 1 << 20


def kept(daemon, name):
    """{image's name: what keeps it}; in the list, which is kept as text, too."""
    device = daemon.get("/devices/" + name)
    for _ in range(3):  # the first calls fill the cache
        (listed,) = [item for item in daemon.list("/devices") if item["name"] == name]
        expect(listed["chain"] == device["chain"], "listed %s, shown %s", listed["chain"], device["chain"])
    return {os.path.basename(image["image"]): image["kept_for"] for image in device["chain"]}


def same(daemon, **wanted):
    for name, images in wanted.items():
        found = kept(daemon, name)
        expect(found == images, "%s: %s, not %s", name, found, images)


def clone(daemon, name, group, device):
    answer = daemon.request("POST", "/devices", {"name": name, "from": {"group": group, "device": device}})
    expect(answer.status == 201, "clone %s: %s", name, answer)
    return answer.body


def detach(daemon, name):
    answer = daemon.request("DELETE", "/devices/" + name)
    expect(answer.status == 204, "DELETE %s: %s", name, answer)


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        same(daemon, vda={"vda.qcow2": []})
        daemon.snapshot("g1", ["vda"])
        same(daemon, vda={"vda.qcow2": ["group g1"], "vda+g1.qcow2": []})
        made = clone(daemon, "vdb", "g1", "vda")
        expect(made["chain"][1]["kept_for"] == ["group g1", "device vda"], "the clone: %s", made)
        same(daemon, vda={"vda.qcow2": ["group g1", "device vdb"], "vda+g1.qcow2": []},
             vdb={"vda.qcow2": ["group g1", "device vda"], "vdb.qcow2": []})
        daemon.snapshot("g2", ["vda", "vdb"])
        clone(daemon, "vdc", "g2", "vdb")
        vda = {"vda.qcow2": ["group g1", "device vdb", "device vdc", "group g2"], "vda+g1.qcow2": ["group g2"],
               "vda+g2.qcow2": []}
        lowest = ["group g1", "device vda", "group g2"]
        vdb = {"vda.qcow2": lowest, "vdb.qcow2": ["group g2", "device vdc"], "vdb+g2.qcow2": []}
        same(daemon, vda=vda, vdb=vdb,
             vdc={"vda.qcow2": lowest, "vdb.qcow2": ["group g2", "device vdb"], "vdc.qcow2": []})
        for end in (daemon.stop, daemon.kill):
            end()
            daemon.start()
            same(daemon, vda=vda, vdb=vdb)
        detach(daemon, "vdc")
        left = "image " + daemon.image("vdc.qcow2")
        same(daemon, vda={**vda, "vda.qcow2": ["group g1", "device vdb", "group g2", left]},
             vdb={**vdb, "vdb.qcow2": ["group g2", left]})
        answer = daemon.request("POST", "/devices", {"name": "ro", "image": "vda.qcow2", "format": "qcow2",
                                                     "read_only": True})
        expect(answer.status == 201, "a frozen image is attached to be read: %s", answer)
        same(daemon, vda={**vda, "vda.qcow2": ["group g1", "device ro", "device vdb", "group g2", left]})
        detach(daemon, "ro")
        daemon.attach_device("vdc", "vdc.qcow2", "qcow2")
        same(daemon, vda=vda, vdb=vdb)


main(test)
