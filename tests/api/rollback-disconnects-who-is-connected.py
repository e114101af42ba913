#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A rollback with `disconnect` ends the connections of its devices: each write that was acknowledged
# is in the group that keeps what was there, and none is on the device. While it runs a new client
# is refused with NBD_REP_ERR_SHUTDOWN. It disconnects nobody before all else is sure to succeed; a
# client that does not read its replies ends it after 10 s, and then all devices go on.
import os
import sys
import time

import nbd

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import expect, main, wait_until
from writers import BLOCKS, Disk, start_writers, stop_writers

SIZE_BYTES = 6 << 20
ROLLBACKS = "/snapshot-groups/g/rollbacks"
ROUNDS = 8


def under_load(daemon, disks, number):
    """Also the writes that are under way then, whose answers the clients get."""
    writers = start_writers(daemon, disks)
    name = "r%d" % number
    answer = daemon.request("POST", ROLLBACKS, {"name": name, "disconnect": True})
    expect(answer.status == 201, "%s", answer)
    for writer in writers:
        writer.join()
        expect(writer.error, "the client of %s is connected still", writer.disk.name)
    stop_writers(writers)
    for disk in disks:
        disk.verify_frozen(daemon, name, disk.acknowledged, disk.issued)
        handle = daemon.nbd(disk.name)
        disk.verify(handle, [0] * BLOCKS, [0] * BLOCKS, disk.name)
        handle.shutdown()
        disk.acknowledged = [0] * BLOCKS


def refused_meanwhile(daemon):
    """Up to the end of the call, at each step."""
    for step in ("prepare", "committing", "cut", "finish", "committed"):
        daemon.close_gate(step)
        call = Call(daemon, "POST", ROLLBACKS, {"name": "at-" + step})
        daemon.await_gate(step)
        for disk in ("vda", "vdb"):
            try:
                daemon.nbd(disk)
                expect(False, "%s admits a client at %s", disk, step)
            except nbd.Error as error:
                expect("server shutting down" in error.string or error.errno == "ESHUTDOWN", "%s: %s", step, error)
        daemon.nbd("vdb@g").shutdown()
        daemon.open_gate(step)
        expect(call.answer().status == 201, "%s", call.answer())
        daemon.nbd("vda").shutdown()


def nobody_in_vain(daemon):
    """The second member fails: it is gone."""
    handle = daemon.nbd("vda")
    handle.pwrite(b"a" * 512, 0)
    expect(daemon.request("DELETE", "/devices/vdb").status == 204, "detach")
    for query in ("", "?dry_run=true"):
        answer = daemon.request("POST", ROLLBACKS + query, {"name": "vain", "disconnect": True})
        expect((answer.status, answer.body["code"], answer.body["device"]) == (404, "DeviceNotFound", "vdb"), "%s", answer)
    expect(bytes(handle.pread(512, 0)) == b"a" * 512, "what was written")
    second = daemon.nbd("vda")
    second.shutdown()
    handle.shutdown()


def stubborn(daemon):
    """Its replies fill the socket."""
    limit_ms = daemon.get("/limits")["rollback_disconnect_ms"]
    daemon.create_device("vdc", "raw", SIZE_BYTES * 8)
    daemon.snapshot("c", ["vdc"])
    before = daemon.image_names()
    handle = daemon.nbd("vdc")
    for _ in range(16):
        handle.aio_pread(nbd.Buffer(16 << 20), 0)
    began = time.monotonic()
    answer = daemon.request("POST", "/snapshot-groups/c/rollbacks", {"name": "r", "disconnect": True})
    took_ms = (time.monotonic() - began) * 1000
    expect((answer.status, answer.body["code"], answer.body["device"]) == (409, "DeviceInUse", "vdc"), "%s", answer)
    expect(took_ms >= limit_ms, "it gave up after %d ms", took_ms)
    expect(daemon.image_names() == before, "files stay: %s", daemon.image_names())
    other = daemon.nbd("vdc")
    other.pwrite(b"b" * 512, 0)
    other.shutdown()
    del handle
    wait_until(lambda: daemon.get("/devices/vdc")["clients"] == 0, "the client has gone")
    daemon.roll_back("c", "r")


def test():
    with GatedDaemon() as daemon:
        daemon.start_with({"vda": "raw", "vdb": "qcow2"}, SIZE_BYTES)
        daemon.snapshot("g", ["vda", "vdb"])
        disks = [Disk(name, SIZE_BYTES) for name in ("vda", "vdb")]
        for number in range(ROUNDS):
            under_load(daemon, disks, number)
        refused_meanwhile(daemon)
        nobody_in_vain(daemon)
        stubborn(daemon)


main(test)
