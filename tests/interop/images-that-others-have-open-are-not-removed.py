#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# An image that a delete would remove, but on which another program works in an overlay of its own,
# stays, with what is under it, as long as that program has it open. The next delete removes it.
import contextlib
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, checksum, expect, main, run, wait_until

MIB = 1 << 20


@contextlib.contextmanager
def served_by_qemu(daemon, image):
    """Another program's overlay on the image, open."""
    overlay, socket = daemon.image("overlay.qcow2"), os.path.join(daemon.directory, "qemu.sock")
    pidfile = os.path.join(daemon.directory, "qemu.pid")  # written once it has opened the image
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", overlay)
    server = subprocess.Popen(["qemu-nbd", "-t", "-k", socket, "--pid-file", pidfile, "-f", "qcow2", overlay])
    try:
        wait_until(lambda: os.path.exists(pidfile), "qemu-nbd")
        yield overlay
    finally:
        server.terminate()
        server.wait()


def delete(daemon, group):
    """Returns what the job kept. Before it, the daemon may have the image open, too."""
    return [image["image"] for image in daemon.delete_group(group)["kept"]]


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", MIB)
        for group in ("g1", "g2"):
            handle = daemon.nbd("vda")
            handle.pwrite(group[1].encode() * 4096, 4096)
            handle.shutdown()
            daemon.snapshot(group, ["vda"])
        answer = daemon.request("POST", "/snapshot-groups/g1/rollbacks", {"name": "before"})
        expect(answer.status == 201, "%s", answer)
        image = answer.body["members"][0]["backing_file"]  # nothing of the daemon stands on it
        with served_by_qemu(daemon, image) as overlay:
            before = checksum(image)
            expect(delete(daemon, "before") == [image], "the image is not said to be kept")
            expect(checksum(image) == before, "the image has changed")
            run("qemu-io", "-U", "-r", "-f", "qcow2", "-c", "read -P 0x32 4096 4096", overlay)
        expect(delete(daemon, "g2") == [], "an image is kept that nobody has open")
        expect(not os.path.exists(image), "the image is left behind")


main(test)
