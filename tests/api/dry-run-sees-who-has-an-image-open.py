#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The dry run of a delete and the delete agree on an image that would go while another program has
# it open: it stays, and both say why, also while the daemon itself has it open for an export. Once
# the program has closed it, it goes.
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, wait_until

SIZE_BYTES = 1 << 20


def delete(daemon):
    answer = daemon.request_when_free("DELETE", "/snapshot-groups/safe")
    expect(answer.status == 202, "%s", answer)
    path = "/jobs/" + answer.body["id"]
    wait_until(lambda: daemon.get(path)["state"] not in ("queued", "running"), "the job")
    job = daemon.get(path)
    expect(job["state"] == "done", "%s", job)
    return job["kept"]


def plan(daemon):
    answer = daemon.request_when_free("DELETE", "/snapshot-groups/safe?dry_run=true")
    expect(answer.status == 200, "%s", answer)
    return answer.body


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        daemon.snapshot("g1", ["vda"])
        daemon.write("vda", b"a" * 4096)
        answer = daemon.request_when_free("POST", "/snapshot-groups/g1/rollbacks", {"name": "safe"})
        expect(answer.status == 201, "%s", answer)
        image = answer.body["members"][0]["backing_file"]
        daemon.content_hash("vda@safe")
        expect(plan(daemon)["kept"] == [], "nobody else has it open: %s", plan(daemon))
        command = ["qemu-io", "-r", "-f", "qcow2", image]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            other.stdin.write(b"read 0 512\n")
            other.stdin.flush()
            other.stdout.readline()
            planned = plan(daemon)
            expect([item["image"] for item in planned["kept"]] == [image] and planned["freed_bytes"] == 0,
                   "another program has %s open: %s", image, planned)
            kept = delete(daemon)
            expect(kept == planned["kept"] and os.path.exists(image), "planned %s, but %s", planned, kept)
            other.stdin.close()


main(test)
