#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A raw disk grows beyond what its file system has room for in a file. Its groups can be deleted:
# what cannot be merged into that file is kept, and the images above it are merged all the same.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, wait_until

MIB = 1 << 20
LARGE_BYTES = 1 << 45


def fits(daemon):
    """Whether a file of that size can be there."""
    path = daemon.image("probe")
    with open(path, "wb") as probe:
        try:
            probe.truncate(LARGE_BYTES)
            return True
        except OSError:
            return False
        finally:
            os.unlink(path)


def images_are_few(daemon, base, group):
    daemon.snapshot(group, ["vda"])
    plan = daemon.request("DELETE", "/snapshot-groups/%s?dry_run=true" % group)
    expect(plan.status == 200, "%s", plan)
    job = daemon.request("DELETE", "/snapshot-groups/" + group).body["id"]
    wait_until(lambda: daemon.get("/jobs/" + job)["state"] not in ("queued", "running"), "the job")
    ended = daemon.get("/jobs/" + job)
    expect(ended["state"] == "done", "%s", ended)
    chain = daemon.chain("vda")
    expect(sorted(map(daemon.image, daemon.image_names())) == sorted(chain), "%s", chain)
    expect(chain[-1] == base and len(chain) == (2 if fits(daemon) else 3), "%s: %s", group, chain)
    expect(plan.body["copy_bytes"] == ended["progress"]["total_bytes"], "%s, %s", plan, ended)


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", MIB)
        answer = daemon.request("PATCH", "/devices/vda", {"size_bytes": LARGE_BYTES})
        expect(answer.status == 200 and answer.body["size_bytes"] == LARGE_BYTES, "%s", answer)
        handle = daemon.nbd("vda")
        handle.pwrite(b"x" * 512, LARGE_BYTES - 512)
        handle.shutdown()
        base = daemon.get("/devices/vda")["chain"][-1]["image"]
        for group in ("g1", "g2", "g3"):
            images_are_few(daemon, base, group)
        handle = daemon.nbd("vda")
        expect(bytes(handle.pread(512, LARGE_BYTES - 512)) == b"x" * 512, "the end is lost")
        expect(bytes(handle.pread(MIB, MIB - 4096)) == bytes(MIB), "what was not written is no zeros")
        handle.shutdown()


main(test)
