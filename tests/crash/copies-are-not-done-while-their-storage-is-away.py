#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A daemon is killed when a copy is whole and about to get its name. At the next start the file
# system of the copy is away: the copy has failed, for it has no name there. Once the file system
# is back, nothing of it is left, and the call repeated makes it.
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import FileSystem, own_mounts
from killwalk import Kill, ask_and_kill, jobs_of
from snapgroupd import Daemon, expect, main, wait_until

SIZE_BYTES = 1 << 20
CONTENT = b"\x11" * SIZE_BYTES
REQUEST = "POST", "/snapshot-groups/frozen/copies", {"device": "vda", "image": "m/copy.raw", "format": "raw"}


def end_of(daemon, path):
    wait_until(lambda: daemon.get(path)["state"] not in ("queued", "running"), "the copy to end")
    return daemon.get(path)["state"]


def files(storage):
    return [name for name in os.listdir(storage.mountpoint) if name != "lost+found"]


def begin(daemon):
    daemon.start()
    daemon.create_device("vda", "raw", SIZE_BYTES)
    handle = daemon.nbd("vda")
    handle.pwrite(CONTENT, 0)
    handle.shutdown()
    daemon.snapshot("frozen", ["vda"])


def test():
    with tempfile.TemporaryDirectory(prefix="sg.") as directory, Daemon() as daemon, \
            FileSystem("ext4", directory, os.path.join(daemon.images, "m")) as storage:
        begin(daemon)
        ask_and_kill(daemon, Kill(1, "linkat"), jobs_of, ("linkat", 1), *REQUEST)
        expect(len(files(storage)) == 1 and files(storage) != ["copy.raw"], "killed, there is %s", files(storage))
        storage.away()
        daemon.start()
        job = daemon.list("/jobs")[0]
        expect(end_of(daemon, "/jobs/" + job["id"]) == "failed", "%s", daemon.get("/jobs/" + job["id"]))
        storage.back()
        wait_until(lambda: not files(storage), "the file to go")
        answer = daemon.request(*REQUEST)
        expect(answer.status == 202 and end_of(daemon, answer.headers["Location"]) == "done", "again: %s", answer)
        expect(files(storage) == ["copy.raw"], "the files are %s", files(storage))
        with open(daemon.image("m/copy.raw"), "rb") as copy:
            expect(copy.read() == CONTENT, "the copy is another one")
        daemon.stop()


own_mounts()
main(test)
