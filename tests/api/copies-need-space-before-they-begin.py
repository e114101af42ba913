#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A copy to a file system without enough space is refused with 507, also by a dry run, and leaves
# nothing. One whose file system gets full on the way fails with 507, and leaves nothing; once there
# is room the same call succeeds.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts, small_directory
from snapgroupd import Daemon, expect, main, wait_until

MIB = 1 << 20
COPIES = "/snapshot-groups/frozen/copies"


def body_of(image_format):
    return {"device": "vda", "image": "small/vda." + image_format, "format": image_format}


def fill(small, left_bytes):
    """So much is left, for root."""
    fs = os.statvfs(small)
    with open(os.path.join(small, "filler"), "wb") as filler:
        filler.write(bytes(max(fs.f_bfree * fs.f_frsize - left_bytes, 0)))


def await_end(daemon, location):
    wait_until(lambda: daemon.get(location)["state"] not in ("queued", "running"), "the copy to end")
    return daemon.get(location)


def is_refused(daemon, small, image_format):
    fill(small, 9 * MIB)
    for query in ("?dry_run=true", ""):
        answer = daemon.request("POST", COPIES + query, body_of(image_format))
        expect((answer.status, answer.body["code"], answer.body["pointer"]) == (507, "OpenFileFailed", "/image"), "%s", answer)
    expect(os.listdir(small) == ["filler"], "a refusal leaves %s", os.listdir(small))
    os.unlink(os.path.join(small, "filler"))


def fails_on_the_way(daemon, small, image_format):
    answer = daemon.request("POST", COPIES, body_of(image_format))
    expect(answer.status == 202, "%s", answer)
    location = answer.headers["Location"]
    wait_until(lambda: os.listdir(small), "the copy to begin")
    fill(small, 2 * MIB)
    answer = daemon.request("PATCH", location, {"rate_bytes_per_second": 0})
    expect(answer.status == 200, "%s", answer)
    job = await_end(daemon, location)
    expect(job["state"] == "failed" and (job["error"]["status"], job["error"]["code"]) == (507, "OpenFileFailed"), "%s", job)
    wait_until(lambda: os.listdir(small) == ["filler"], "the part to go")
    os.unlink(os.path.join(small, "filler"))


def test():
    with Daemon() as daemon, small_directory(daemon, "20M") as small:
        daemon.start()
        daemon.create_device("vda", "raw", 8 * MIB)
        handle = daemon.nbd("vda")
        handle.pwrite(b"\x11" * (8 * MIB), 0)
        handle.shutdown()
        daemon.snapshot("frozen", ["vda"])
        with daemon.stopped_database() as database:
            database.execute("CREATE TRIGGER slow AFTER INSERT ON jobs BEGIN "
                             "UPDATE jobs SET rate_bytes_per_second = 1 WHERE id = NEW.id; END")
        for image_format in ("raw", "qcow2"):
            is_refused(daemon, small, image_format)
            fails_on_the_way(daemon, small, image_format)
        with daemon.stopped_database() as database:
            database.execute("DROP TRIGGER slow")
        answer = daemon.request("POST", COPIES, body_of("qcow2"))
        expect(answer.status == 202 and await_end(daemon, answer.headers["Location"])["state"] == "done", "%s", answer)
        daemon.stop()


own_mounts()
main(test)
