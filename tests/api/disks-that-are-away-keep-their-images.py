#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A clone is detached, and its file system is unmounted: an empty directory is in its place. What
# the clone stands on stays as it is when the group is deleted, so that it reads the same when it is
# back.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, wait_until

SIZE_BYTES = 1 << 20


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        daemon.write("vda", b"a" * 4096)
        daemon.snapshot("g1", ["vda"])
        answer = daemon.request("POST", "/devices", {"name": "clone", "from": {"group": "g1", "device": "vda"}})
        expect(answer.status == 201, "%s", answer)
        image = answer.body["top"]
        answer = daemon.request("DELETE", "/devices/clone")
        expect(answer.status == 204, "%s", answer)
        daemon.write("vda", b"b" * 4096)
        away = os.path.join(daemon.directory, "away")
        os.rename(image, away)
        with daemon.stopped_database() as database:  # as if it were of another file system
            database.execute("UPDATE images SET identity = identity || '0' WHERE path = ?", (image,))
        job = daemon.request("DELETE", "/snapshot-groups/g1").body["id"]
        wait_until(lambda: daemon.get("/jobs/" + job)["state"] not in ("queued", "running"), "the job")
        os.rename(away, image)
        daemon.attach_device("clone", image, "qcow2")
        handle = daemon.nbd("clone")
        expect(bytes(handle.pread(4096, 0)) == b"a" * 4096, "the clone has changed: %s", daemon.get("/jobs/" + job))
        handle.shutdown()


main(test)
