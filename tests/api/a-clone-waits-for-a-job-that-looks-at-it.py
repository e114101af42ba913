#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A job that plans has the image of a clone open, to look at its header, when the clone's device is
to open it for writing: the clone waits for that, and is made.
"""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import expect, main, wait_until

SIZE_BYTES = 1 << 20


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)  # open-0
        for group in ("lower", "upper"):
            daemon.snapshot(group, ["vda"])
            daemon.write("vda", group.encode())
        daemon.close_gate("open-1")
        call = Call(daemon, "POST", "/devices", {"name": "new", "from": {"group": "upper", "device": "vda"}})
        daemon.await_gate("open-1")
        daemon.close_gate("look-new.qcow2")
        job = daemon.request("DELETE", "/snapshot-groups/lower")
        daemon.await_gate("look-new.qcow2")
        daemon.close_gate("await")
        daemon.open_gate("open-1")
        waits = os.path.join(daemon.gates, "await.reached")
        wait_until(lambda: call.result or os.path.exists(waits), "the clone to find its image in use")
        daemon.open_gate("await")
        daemon.open_gate("look-new.qcow2")
        expect(call.answer().status == 201, "%s", call.answer())
        expect(daemon.await_job(job)["state"] == "done", "%s", job)
        handle = daemon.nbd("new")
        expect(handle.pread(5, 0) == b"lower", "what the clone reads")
        handle.shutdown()


main(test)
