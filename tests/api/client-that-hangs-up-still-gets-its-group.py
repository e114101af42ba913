#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A client closes its socket while its group waits at one step after the other, before and after the
# point of no return: the group goes on and is committed, and is found by its name. A client that
# asks again by name, as after a timeout, finds one group: refused while it runs and afterwards, and
# neither file nor device is taken twice. After a group that its deadline ended, the same request
# succeeds, and nothing of the first attempt is left.
import json
import os
import socket
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import STEPS, GatedDaemon
from snapgroupd import expect, group_body, main, wait_until

DEVICES = ["vda", "vdb"]


def send_and_close(daemon, step, name):
    body = json.dumps(group_body(name, DEVICES))
    client = socket.socket(socket.AF_UNIX)
    client.connect(os.path.join(daemon.runtime, "api.sock"))
    client.sendall(("POST /snapshot-groups HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    "Content-Length: %d\r\n\r\n%s" % (len(body), body)).encode())
    daemon.await_gate(step)
    client.close()


def again(daemon, name):
    return daemon.request("POST", "/snapshot-groups", group_body(name, DEVICES))


def hang_up(daemon, step):
    daemon.close_gate(step)
    send_and_close(daemon, step, step)
    if step in ("prepare", "cut", "finish"):  # the row says so, and the store is not held up
        refused = again(daemon, step)
        expect(refused.status == 409 and refused.body["code"] == "GroupExists", "at %s: %s", step, refused)
    daemon.open_gate(step)
    group = daemon.await_state(step, "committed")
    expect([member["device"] for member in group["members"]] == DEVICES, "at %s: %s", step, group)
    refused = again(daemon, step)
    expect(refused.status == 409 and refused.body["code"] == "GroupExists", "after %s: %s", step, refused)


def retry_after_deadline(daemon):
    body = {**group_body("late", DEVICES), "deadline_ms": 100}
    daemon.close_gate("prepare")
    answer = daemon.request("POST", "/snapshot-groups", body)
    expect(answer.status == 504, "%s", answer)
    daemon.open_gate("prepare")
    body["deadline_ms"] = 60000
    wait_until(lambda: daemon.request("POST", "/snapshot-groups", body).status == 201, "the retry succeeds")


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        for device in DEVICES:
            daemon.create_device(device, "raw", 1 << 20)
        files = daemon.image_names()
        for step in STEPS:
            hang_up(daemon, step)
        retry_after_deadline(daemon)
        committed = [group for group in daemon.list("/snapshot-groups") if group["state"] == "committed"]
        names = sorted(group["name"] for group in committed)
        expect(names == sorted(STEPS + ("late",)), "committed: %s", names)
        made = [os.path.basename(member["snapshot_file"]) for group in committed for member in group["members"]]
        expect(daemon.image_names() == sorted(files + made), "files: %s", daemon.image_names())
        for device in DEVICES:
            chain = daemon.get("/devices/" + device)["chain"]
            expect(len(chain) == len(names) + 1, "%s: %s", device, chain)


main(test)
