#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A device goes that was what kept an image of a deleted group: a clone with its file, or a device
# that only reads. The daemon is killed when that is recorded, but before it has planned what may be
# merged now. The next start plans it: the disk is one file again.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import expect, main, qcow2_check, wait_until

MIB = 1 << 20


def attach_clone(daemon):
    return {"name": "other", "from": {"group": "g", "device": "vda"}}


def attach_reader(daemon):
    return {"name": "other", "image": daemon.image("vda.qcow2"), "format": "qcow2", "read_only": True}


def detach_clone(daemon):
    """Its row is gone, and its tree is about to be planned."""
    daemon.close_gate("replan")
    call = Call(daemon, "DELETE", "/devices/other?files=delete")
    daemon.await_gate("replan")
    daemon.kill()
    call.join()
    daemon.forget_gate("replan")


def detach_reader(daemon):
    """Its tree is planned a second later."""
    answer = daemon.request("DELETE", "/devices/other")
    daemon.kill()
    expect(answer.status == 204, "%s", answer)


def case(daemon, attach, detach):
    daemon.snapshot("g", ["vda"])
    answer = daemon.request("POST", "/devices", attach(daemon))
    expect(answer.status == 201, "%s", answer)
    daemon.write("vda", os.urandom(MIB), MIB)
    known = daemon.content_hash("vda")
    daemon.delete_group("g")
    expect(len(daemon.chain("vda")) == 2, "nothing keeps the image: %s", daemon.chain("vda"))
    detach(daemon)
    daemon.start()
    wait_until(lambda: len(daemon.chain("vda")) == 1, "the merge")
    expect(daemon.content_hash("vda") == known, "the disk has changed")
    wait_until(lambda: daemon.image_names() == ["vda.qcow2"], "the other files to go")


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 4 * MIB)
        case(daemon, attach_clone, detach_clone)
        case(daemon, attach_reader, detach_reader)
        daemon.stop()
        qcow2_check(daemon.image("vda.qcow2"))


main(test)
