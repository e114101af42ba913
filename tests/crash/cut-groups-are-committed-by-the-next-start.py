#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The daemon is killed, and another time ended by SIGTERM, while a group is `cut`: one member has a
# write of before the cut in flight that does not end, the other is settled and in a later group, or
# detached. SIGTERM ends the daemon in its time, with status 1. The next start commits the group by
# itself, with the time of its cut; no top moves back, and a repeated key gets 201.
import os
import signal
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from cutgates import BLOCK, SIZE_BYTES, CutDaemon, Request, held, unequal
from snapgroupd import expect, group_body, main, wait_until

CHANGED = 2 * BLOCK  # what is written and acknowledged before; the write in flight is at 0


def settled(daemon, group, device):
    def look():
        members = daemon.get("/snapshot-groups/" + group)["members"]
        return any(member["device"] == device and member["state"] == "committed" for member in members)
    wait_until(look, "%s is settled" % device)


def cut(daemon, name, devices, image, byte):
    """A group whose first device, with that top image, has a write in flight; its answer."""
    for device in devices:
        Request(daemon, device, "pwrite", BLOCK * byte, CHANGED).await_answer()
    gate = "change-%s-0" % image
    held(daemon, gate, devices[0], "pwrite", BLOCK * b"?", 0)
    answer = daemon.request("POST", "/snapshot-groups", {**group_body(name, devices), "settle_ms": 0},
                            Idempotency_Key='"%s"' % name)
    expect(answer.status == 202 and answer.body["state"] == "cut", "%s", answer)
    for device in devices[1:]:
        settled(daemon, name, device)
    return gate, answer.body


def start(daemon, gate, before):
    daemon.open_gate(gate)
    os.unlink(daemon.path(gate + ".reached"))
    daemon.start()
    group = daemon.get("/snapshot-groups/" + before["id"])
    expect(group["state"] == "committed" and group["cut_at"] == before["cut_at"], "%s", group)
    expect(all(member["state"] == "committed" and member["ready_to_use"] for member in group["members"]), "%s", group)
    kinds = [event["kind"] for event in daemon.get("/events?group=" + group["id"])["items"]]
    expect(kinds == ["group.preparing", "group.cut", "group.committed"], "%s", kinds)
    body = {**group_body(group["name"], [member["device"] for member in group["members"]]), "settle_ms": 0}
    again = daemon.request("POST", "/snapshot-groups", body, Idempotency_Key='"%s"' % group["name"])
    expect(again.status == 201 and again.body["id"] == group["id"], "%s", again)


def chain(daemon, device):
    return [os.path.basename(image["image"]) for image in daemon.get("/devices/" + device)["chain"]]


def frozen(daemon, export, byte):
    faults = unequal(export, daemon.read(export, CHANGED), BLOCK * byte)
    expect(not faults, "%s", faults)


def killed(daemon):
    gate, group = cut(daemon, "g", ["a", "b", "c"], "a.qcow2", b"1")
    daemon.snapshot("h", ["b"])
    Request(daemon, "b", "pwrite", BLOCK * b"2", CHANGED).await_answer()
    expect(daemon.request("DELETE", "/devices/c").status == 204, "the detach of c")
    daemon.kill()
    start(daemon, gate, group)
    expect(chain(daemon, "a") == ["a+g.qcow2", "a.qcow2"], "%s", chain(daemon, "a"))
    expect(chain(daemon, "b") == ["b+h.qcow2", "b+g.qcow2", "b.qcow2"], "%s", chain(daemon, "b"))
    expect(daemon.request("GET", "/devices/c").status == 404, "c")
    for export, byte in (("a@g", b"1"), ("b@g", b"1"), ("c@g", b"1"), ("b@h", b"1"), ("a", b"1"), ("b", b"2")):
        frozen(daemon, export, byte)


def terminated(daemon):
    gate, group = cut(daemon, "i", ["a", "b"], "a+g.qcow2", b"3")
    status = daemon.end(signal.SIGTERM)
    expect(status == 1, "the daemon ended with status %d", status)
    start(daemon, gate, group)
    expect(chain(daemon, "a") == ["a+i.qcow2", "a+g.qcow2", "a.qcow2"], "%s", chain(daemon, "a"))
    for export, byte in (("a@i", b"3"), ("b@i", b"3"), ("a@g", b"1"), ("a", b"3"), ("b", b"3")):
        frozen(daemon, export, byte)
    daemon.snapshot("j", ["a", "b"])


def test():
    with CutDaemon() as daemon:
        # One that ends while storage hangs waits for no thread, also for those that are over.
        daemon.environment["TSAN_OPTIONS"] += ":report_thread_leaks=0"
        daemon.start()
        for name in ("a", "b", "c"):
            daemon.create_device(name, "qcow2", SIZE_BYTES)
        killed(daemon)
        terminated(daemon)


main(test)
