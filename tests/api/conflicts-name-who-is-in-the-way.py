#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# DeviceInUse names its holder: the group that runs, or the export that clients are connected to,
# and of these the first, by address or process, and by the name that it has proven with TLS.
# GroupExists and DeviceExists name who has the name, and whether the same request made it, so that
# a client is idempotent by name without a key, whatever has become of the files meanwhile.
# ImageInUse names the device that has the image, not the one that opened it and is detached.
import os
import re
import socket
import sys

import nbd

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import SOURCE_DIR, expect, group_body, main, run, wait_until


def check_holder(daemon, answer, holder):
    expect(answer.status == 409 and answer.body["code"] == "DeviceInUse" and answer.body.get("holder") == holder,
           "not held by %s: %s", holder, answer)


def check_group(daemon):
    daemon.close_gate("prepare")
    call = Call(daemon, "POST", "/snapshot-groups", group_body("running", ["vda"]))
    daemon.await_gate("prepare")
    holder = {"kind": "group", "id": daemon.get("/snapshot-groups/running")["id"]}
    check_holder(daemon, daemon.request("POST", "/snapshot-groups", group_body("other", ["vdb", "vda"])), holder)
    check_holder(daemon, daemon.request("DELETE", "/devices/vda"), holder)
    daemon.open_gate("prepare")
    expect(call.answer().status == 201, "the group that ran: %s", call.answer())


def check_clients(daemon, pki):
    first = daemon.nbd("vda")
    who = {"kind": "export", "id": "vda", "client": {"pid": os.getpid(), "uid": os.getuid()}}
    check_holder(daemon, daemon.request("DELETE", "/devices/vda"), who)
    port = re.search(r"^nbd 127.0.0.1:(\d+)$", daemon.said, re.M)[1]
    second = nbd.NBD()
    second.set_uri_allow_local_file(True)
    second.connect_uri("nbds://localhost:%s/vda?tls-certificates=%s/client" % (port, pki))
    check_holder(daemon, daemon.request("DELETE", "/devices/vda"), who)
    first.shutdown()

    def holder():
        return daemon.request("DELETE", "/devices/vda").body["holder"]
    wait_until(lambda: "pid" not in holder()["client"], "the first one has gone")
    local = socket.socket(fileno=os.dup(second.aio_get_fd()))
    address = "%s:%d" % local.getsockname()
    local.close()
    check_holder(daemon, daemon.request("DELETE", "/devices/vda"),
                 {**who, "client": {"address": address, "tls_name": "client"}})
    expect(address + " (client)" in daemon.request("DELETE", "/devices/vda").body["detail"], "the text has no address")
    second.shutdown()


def check_image(daemon):
    run("qemu-img", "create", "-q", "-f", "qcow2", daemon.image("base"), "1M")
    for name in ("first", "second"):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", daemon.image(name))
        daemon.attach_device(name, name, "qcow2")
    body = {"name": "w", "image": "base", "format": "qcow2"}
    for name in ("first", "second"):
        answer = daemon.request("POST", "/devices", body)
        expect(answer.body["code"] == "ImageInUse" and "device '" in answer.body["detail"], "%s", answer)
        group = daemon.request("POST", "/snapshot-groups", {"devices": [{"device": "vda", "snapshot_file": "base"}]})
        for text in (answer.body["detail"], group.body["detail"]):
            expect("device 'first'" not in text or name == "first", "it is detached: %s", text)
            expect("device 'w'" not in text, "it is not there: %s", text)
        detached = daemon.request("DELETE", "/devices/" + name)
        expect(detached.status == 204, "%s", detached)
    answer = daemon.request("POST", "/devices", body)
    expect(answer.status == 201, "nobody has it: %s", answer)


def check_existing(daemon):
    body = group_body("g", ["vda"])
    made = daemon.request("POST", "/snapshot-groups", body)
    expect(made.status == 201, "%s", made)
    for again, same in ((body, True), (group_body("g", ["vdb"]), False), ({**body, "labels": {"a": "b"}}, False)):
        answer = daemon.request("POST", "/snapshot-groups", again)
        expect(answer.status == 409 and answer.body["code"] == "GroupExists" and
               answer.body["existing"] == {"id": made.body["id"], "same_request": same}, "%s", answer)
    daemon.restart()
    answer = daemon.request("POST", "/snapshot-groups", body)
    expect(answer.body["existing"] == {"id": made.body["id"], "same_request": True}, "after a restart: %s", answer)


def refused_again(daemon, body, same):
    answer = daemon.request("POST", "/devices", body)
    expect(answer.status == 409 and answer.body["code"] == "DeviceExists" and
           answer.body.get("existing") == {"id": body["name"], "same_request": same}, "%s: %s", body, answer)


def check_existing_device(daemon):
    """One that was created, and one that was attached."""
    run("truncate", "-s", "1M", daemon.image("old"))
    for body in ({"name": "new", "image": "new", "format": "qcow2", "size_bytes": 1 << 20},
                 {"name": "old", "image": "old", "format": "raw"}):
        answer = daemon.request("POST", "/devices", body)
        expect(answer.status == 201, "%s", answer)
        daemon.request("PATCH", "/devices/" + body["name"], {"labels": {"changed": "since"}})
        refused_again(daemon, body, True)
        refused_again(daemon, {**body, "labels": {"a": "b"}}, False)
        refused_again(daemon, {**body, "image": "no/such/directory"}, False)
        daemon.restart()
        os.rename(daemon.image(body["image"]), daemon.image("away"))
        refused_again(daemon, body, True)
        os.rename(daemon.image("away"), daemon.image(body["image"]))


def test():
    with GatedDaemon() as daemon:
        pki = os.path.join(daemon.directory, "pki")
        run(os.path.join(SOURCE_DIR, "tests/lib/certificates.sh"), pki)
        daemon.arguments += ["--nbd", "unix:%s/nbd.sock" % daemon.runtime, "--nbd", "127.0.0.1:0", "--nbd-tls", "optional",
                             "--nbd-tls-cert-dir", pki + "/server", "--nbd-tls-verify-peer"]
        daemon.start_with({"vda": "raw", "vdb": "raw"}, 1 << 20)
        check_group(daemon)
        check_clients(daemon, pki)
        check_image(daemon)
        check_existing(daemon)
        check_existing_device(daemon)


main(test)
