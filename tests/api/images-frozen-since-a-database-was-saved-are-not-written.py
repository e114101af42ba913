#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# An operator puts a saved database beside the images of today. What was frozen since is not
# written, though that database has it as the top of a device: the file itself says that it is
# frozen. So it does to a daemon with another database, for itself and for the image beneath it. A
# copy of such a file is not frozen; without its attribute it is not either.
import os
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, checksums, expect, main, run

ATTRIBUTE = "user.snapgroupd.frozen"


def write(daemon, byte):
    handle = daemon.nbd("vda")
    handle.pwrite(byte * 65536, 0)
    handle.flush()
    handle.shutdown()


def exchange_state(daemon, saved):
    daemon.stop()
    shutil.rmtree(daemon.state)
    shutil.copytree(saved, daemon.state)
    daemon.start()


def save_state(daemon, name):
    daemon.stop()
    saved = os.path.join(daemon.directory, name)
    shutil.copytree(daemon.state, saved)
    daemon.start()
    return saved


def expect_refused(daemon, image, image_format):
    answer = daemon.request("POST", "/devices", {"name": "other", "image": image, "format": image_format})
    expect(answer.status == 409 and answer.body["code"] == "ImageInUse" and ATTRIBUTE in answer.body["detail"],
           "%s: %s", image, answer)


def restore_older(daemon):
    yesterday = save_state(daemon, "yesterday")
    daemon.snapshot("today", ["vda"])
    write(daemon, b"2")
    today = save_state(daemon, "today")
    before = checksums(map(daemon.image, daemon.image_names()))
    exchange_state(daemon, yesterday)
    device = daemon.get("/devices/vda")
    expect(device["state"] == "failed" and ATTRIBUTE in device["reason"], "the device: %s", device)
    daemon.stop()
    expect(checksums(map(daemon.image, daemon.image_names())) == before, "images have changed")
    daemon.start()
    exchange_state(daemon, today)
    handle = daemon.nbd("vda")
    expect(handle.pread(65536, 0) == b"2" * 65536, "the device has lost its content")
    handle.shutdown()


def begin_with_another(daemon):
    daemon.forget()
    expect_refused(daemon, "vda.qcow2", "qcow2")
    expect_refused(daemon, "base.raw", "raw")
    shutil.copy2(daemon.image("base.raw"), daemon.image("copy.raw"))  # with its attributes
    expect(ATTRIBUTE in os.listxattr(daemon.image("copy.raw")), "the copy has no attribute")
    daemon.attach_device("copy", "copy.raw", "raw")
    daemon.attach_device("vda", "vda+today.qcow2", "qcow2")
    os.removexattr(daemon.image("base.raw"), ATTRIBUTE)
    daemon.request("DELETE", "/devices/vda")
    daemon.attach_device("base", "base.raw", "raw")


def test():
    with Daemon() as daemon:
        run("qemu-img", "create", "-q", "-f", "raw", daemon.image("base.raw"), "1M")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", daemon.image("vda.qcow2"))
        daemon.start()
        daemon.attach_device("vda", "vda.qcow2", "qcow2")
        write(daemon, b"1")
        restore_older(daemon)
        begin_with_another(daemon)


main(test)
