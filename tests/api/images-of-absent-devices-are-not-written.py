#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# While the storage of a device's top is away, no other device writes to an image under it that is
# still there, so that the device comes back with the content that it had.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, run, wait_until


def attach_base(daemon, **more):
    return daemon.request("POST", "/devices",
                          {"name": "vdb", "image": "base.raw", "format": "raw", **more})


def test():
    with Daemon() as daemon:
        top, away = daemon.image("disks"), daemon.image("away")
        os.makedirs(top)
        run("qemu-img", "create", "-q", "-f", "raw", daemon.image("base.raw"), "1M")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "../base.raw", "-F", "raw",
            os.path.join(top, "vda.qcow2"))
        daemon.start()
        daemon.attach_device("vda", "disks/vda.qcow2", "qcow2")
        daemon.stop()
        os.rename(top, away)
        daemon.start()
        expect(daemon.get("/devices/vda")["state"] == "failed", "vda is there")
        answer = attach_base(daemon)
        expect(answer.status == 409 and answer.body["code"] == "ImageInUse", "%s", answer)
        expect("base.raw' is in use by device 'vda'" in answer.body["detail"], "%s", answer)
        answer = attach_base(daemon, read_only=True)
        expect(answer.status == 201, "two that read exclude each other: %s", answer)
        os.rename(away, top)
        wait_until(lambda: daemon.get("/devices/vda")["state"] == "online", "vda")
        for device in ("vda", "vdb"):
            expect(daemon.request("DELETE", "/devices/" + device).status == 204, "%s", device)
        answer = attach_base(daemon)
        expect(answer.status == 201, "nobody has it any more: %s", answer)


main(test)
