#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A group whose second overlay lies on a full file system: dry_run refuses it with 507, as the real
# call does, and names the member; once there is room both succeed.
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts, small_directory
from snapgroupd import Daemon, expect, main

BODY = {"devices": [{"device": "vda"}, {"device": "vdb", "snapshot_file": "small/b"}]}


def ask(daemon, query, status):
    answer = daemon.request("POST", "/snapshot-groups" + query, BODY)
    expect(answer.status == status, "%s: %s", query, answer)
    if status == 507:
        expect(answer.body["code"] == "OpenFileFailed" and answer.body["device"] == "vdb" and
               answer.body["pointer"] == "/devices/1/snapshot_file" and answer.body["retryable"], "%s", answer)


def test():
    with Daemon() as daemon, small_directory(daemon, "1M") as small:
        daemon.start()
        for name in ("vda", "vdb"):
            daemon.create_device(name, "raw", 1 << 20)
        subprocess.run(["dd", "if=/dev/zero", "of=" + small + "/filler", "bs=64K"], stderr=subprocess.DEVNULL,
                       check=False)  # until it is full
        names = daemon.image_names()
        for query in ("?dry_run=true", ""):
            ask(daemon, query, 507)
        expect(daemon.image_names() == names, "left behind: %s", daemon.image_names())
        os.unlink(small + "/filler")
        ask(daemon, "?dry_run=true", 200)
        ask(daemon, "", 201)
        daemon.stop()


own_mounts()
main(test)
