#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A frozen image may be attached for writing once nothing that the daemon knows needs it: its group
# is deleted, and the overlay on it was committed into it by hand and removed. Until then each
# refusal names who needs it: the group, a device, or the image that stands on it. So does what was
# given with it. A restart forgets nothing of that.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, qcow2_check, run, wait_until

SIZE_BYTES = 1 << 20


def attach(daemon, image, image_format="qcow2"):
    return daemon.request("POST", "/devices", {"name": "w", "image": image, "format": image_format})


def refused(daemon, image, reason, image_format="qcow2"):
    answer = attach(daemon, image, image_format)
    expect(answer.status == 409 and answer.body["code"] == "ImageInUse" and reason in answer.body["detail"],
           "%s, which needs '%s': %s", image, reason, answer)


def freed(daemon, image, pattern, image_format="qcow2"):
    answer = attach(daemon, image, image_format)
    expect(answer.status == 201, "%s is not free: %s", image, answer)
    handle = daemon.nbd("w")
    expect(bytes(handle.pread(4096, 0)) == pattern * 4096, "%s has changed", image)
    handle.pwrite(b"w" * 512, SIZE_BYTES - 512)
    handle.shutdown()
    daemon.restart()
    expect(daemon.get("/devices/w")["state"] == "online", "%s is not online after a restart", image)
    detach(daemon, "w")


def detach(daemon, name):
    answer = daemon.request("DELETE", "/devices/" + name)
    expect(answer.status == 204, "DELETE %s: %s", name, answer)


def delete_group(daemon, name):
    answer = daemon.request_when_free("DELETE", "/snapshot-groups/" + name)
    expect(answer.status == 202, "DELETE %s: %s", name, answer)
    wait_until(lambda: daemon.get("/jobs/" + answer.body["id"])["state"] == "done", "the job")


def write(daemon, name, pattern):
    handle = daemon.nbd(name)
    handle.pwrite(pattern * 4096, 0)
    handle.shutdown()


def committed_by_hand(daemon):
    base, overlay = daemon.image("vda.qcow2"), daemon.image("vda+g1.qcow2")
    daemon.create_device("vda", "qcow2", SIZE_BYTES)
    daemon.snapshot("g1", ["vda"])
    write(daemon, "vda", b"a")
    refused(daemon, "vda.qcow2", "device 'vda'")
    detach(daemon, "vda")
    refused(daemon, "vda.qcow2", "snapshot group 'g1'")
    delete_group(daemon, "g1")
    daemon.restart()
    refused(daemon, "vda.qcow2", "'%s'" % overlay)
    run("qemu-img", "commit", "-q", overlay)
    refused(daemon, "vda.qcow2", "'%s'" % overlay)
    os.rename(overlay, overlay + ".away")
    os.link(base, daemon.image("link.qcow2"))
    os.rename(overlay + ".away", overlay)
    refused(daemon, "link.qcow2", "'%s'" % overlay)
    os.unlink(daemon.image("link.qcow2"))
    os.unlink(overlay)
    freed(daemon, "vda.qcow2", b"a")
    qcow2_check(base)


def removed_before_its_group(daemon):
    """A group needs its image whatever became of the overlay."""
    daemon.create_device("vdb", "qcow2", SIZE_BYTES)
    write(daemon, "vdb", b"b")
    daemon.snapshot("g2", ["vdb"])
    detach(daemon, "vdb")
    os.unlink(daemon.image("vdb+g2.qcow2"))
    refused(daemon, "vdb.qcow2", "snapshot group 'g2'")
    delete_group(daemon, "g2")
    freed(daemon, "vdb.qcow2", b"b")


def given_with_it(daemon):
    base, top = daemon.image("base.raw"), daemon.image("vdc.qcow2")
    with open(base, "wb") as file:
        file.write(b"c" * SIZE_BYTES)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", top)
    daemon.attach_device("vdc", top, "qcow2")
    daemon.snapshot("g3", ["vdc"])
    answer = daemon.request("POST", "/devices", {"name": "clone", "from": {"group": "g3", "device": "vdc"}})
    expect(answer.status == 201, "%s", answer)
    detach(daemon, "vdc")
    delete_group(daemon, "g3")
    os.unlink(daemon.image("vdc+g3.qcow2"))
    refused(daemon, "vdc.qcow2", "in use")
    refused(daemon, "base.raw", "in use", "raw")
    detach(daemon, "clone")
    refused(daemon, "vdc.qcow2", "'%s'" % daemon.image("clone.qcow2"))
    os.unlink(daemon.image("clone.qcow2"))
    refused(daemon, "base.raw", "'%s'" % top, "raw")
    os.unlink(top)
    freed(daemon, "base.raw", b"c", "raw")


def test():
    with Daemon() as daemon:
        daemon.start()
        committed_by_hand(daemon)
        removed_before_its_group(daemon)
        given_with_it(daemon)


main(test)
