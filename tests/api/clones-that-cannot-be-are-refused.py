#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Every reason for which a frozen member cannot be cloned: status, code, pointer and device, no file
# and no device left behind, and the call repeated without the fault succeeds. A call that is sent
# twice makes one clone.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import expect, main, run, wait_until

SIZE_BYTES = 1 << 20
FROM = {"group": "g", "device": "vda"}
NONE = "00000000-0000-4000-8000-000000000000"
BODIES = [
    (404, "GroupNotFound", "/from/group", "vda", {"from": {"group": "none", "device": "vda"}}),
    (404, "GroupNotFound", "/from/group", "vda", {"from": {"group": NONE, "device": "vda"}}),
    (404, "GroupNotFound", "/from/group", "vda", {"from": {"group": "failed", "device": "vda"}}),
    (404, "DeviceNotFound", "/from/device", "vdb", {"from": {"group": "g", "device": "vdb"}}),
    (404, "DeviceNotFound", "/from/device", "none", {"from": {"group": "g", "device": "none"}}),
    (409, "DeviceExists", "/name", "vdb", {"name": "vdb", "from": FROM}),
    (409, "DeviceExists", "/name", "vdb", {"name": "vdb", "from": {"group": "none", "device": "vda"}}),
    (422, "InvalidValue", "/format", None, {"from": FROM, "format": "qcow2"}),
    (422, "InvalidValue", "/size_bytes", None, {"from": FROM, "size_bytes": SIZE_BYTES}),
    (422, "InvalidValue", "/read_only", None, {"from": FROM, "read_only": False}),
    (422, "InvalidValue", "/discard_unflushed", None, {"from": FROM, "discard_unflushed": True}),
    (422, "InvalidValue", "/cluster_size_bytes", None, {"from": FROM, "cluster_size_bytes": 100}),
    (422, "OpenFileFailed", "/image", "new", {"from": FROM, "image": "vda.qcow2"}),
    (422, "OpenFileFailed", "/image", "new", {"from": FROM, "image": "precious"}),
    (422, "OpenFileFailed", "/image", "new", {"from": FROM, "image": "link"}),
    (422, "OpenFileFailed", "/image", "new", {"from": FROM, "image": "no/such/directory"}),
    (422, "OpenFileFailed", "/image", "new", {"from": FROM, "image": "../outside"}),
    (422, "OpenFileFailed", "/image", "new", {"from": FROM, "image": ""}),
    (400, "MissingField", "/image", None, {}),
    (400, "MissingField", "/format", None, {"image": "new.qcow2"}),
    (400, "MissingField", "/from/group", None, {"from": {"device": "vda"}}),
    (400, "MissingField", "/from/device", None, {"from": {"group": "g"}}),
    (400, "UnknownField", "/from/at", None, {"from": {**FROM, "at": 1}}),
    (400, "WrongType", "/from", None, {"from": "g"}),
    (400, "WrongType", "/from/group", None, {"from": {"group": 1, "device": "vda"}}),
    (400, "WrongType", "/from", None, {"from": None}),
]


def recorded(daemon):
    """The trees, as the store has them."""
    return daemon.recorded("SELECT path, backing, role, made_by, is_kept FROM images ORDER BY path")


def names_of(daemon):
    return [device["name"] for device in daemon.list("/devices")]


def refused(daemon, status, code, pointer, device, body, **headers):
    files, devices, trees = daemon.image_names(), names_of(daemon), recorded(daemon)
    answer = daemon.request("POST", "/devices", {"name": "new", **body}, **headers)
    expect(answer.status == status and answer.body["code"] == code and answer.body.get("pointer") == pointer and
           answer.body.get("device") == device, "%s: %s", body, answer)
    expect(daemon.image_names() == files, "%s: files were %s and are %s", body, files, daemon.image_names())
    expect(names_of(daemon) == devices and recorded(daemon) == trees, "%s: something is left", body)
    return answer


def made(daemon, body=None, **headers):
    """A clone is made, and goes again."""
    answer = daemon.request("POST", "/devices", {"name": "new", "from": FROM, **(body or {})}, **headers)
    expect(answer.status == 201, "clone: %s", answer)
    detached = daemon.request("DELETE", "/devices/new")
    expect(detached.status == 204, "detach: %s", detached)
    os.unlink(answer.body["image"])


def bodies(daemon):
    with open(daemon.image("precious"), "w") as file:
        file.write("precious")
    os.symlink("nowhere", daemon.image("link"))
    for case in BODIES:
        refused(daemon, *case)
    failed = daemon.get("/snapshot-groups?state=aborted")["items"][0]["id"]
    refused(daemon, 404, "GroupNotFound", "/from/group", "vda", {"from": {"group": failed, "device": "vda"}})
    made(daemon)


def running_group(daemon):
    """One that is under way holds its devices."""
    daemon.close_gate("prepare")
    call = Call(daemon, "POST", "/snapshot-groups", {"name": "slow", "devices": [{"device": "vdb"}]})
    daemon.await_gate("prepare")
    group = daemon.request("GET", "/snapshot-groups/slow")
    answer = daemon.request("POST", "/devices", {"name": "new", "from": {"group": "slow", "device": "vdb"}})
    daemon.open_gate("prepare")
    expect(call.answer().status == 201, "%s", call.answer())
    expect(answer.status == 409 and answer.body["code"] == "DeviceInUse" and answer.body["retryable"] and
           answer.body["pointer"] == "/from/group" and
           answer.body["holder"] == {"kind": "group", "id": group.body["id"]}, "while it runs: %s", answer)
    made(daemon, {"from": {"group": "slow", "device": "vdb"}})


def missing_image(daemon):
    """The frozen image is away, or another file; it comes back."""
    path, away = daemon.image("vda.qcow2"), daemon.image("away")
    detached = daemon.request("DELETE", "/devices/vda")
    expect(detached.status == 204, "detach: %s", detached)
    os.rename(path, away)
    refused(daemon, 422, "OpenFileFailed", "/from/device", "vda", {"from": FROM})
    run("qemu-img", "create", "-q", "-f", "qcow2", path, str(SIZE_BYTES))
    refused(daemon, 422, "OpenFileFailed", "/from/device", "vda", {"from": FROM})
    os.rename(away, path)
    made(daemon)


def needed_path(daemon):
    """The place of a file that is away, and that others stand on, is not free."""
    path, away = daemon.image("vda.qcow2"), daemon.image("away")
    os.rename(path, away)
    refused(daemon, 409, "ImageInUse", "/image", "new",
            {"from": {"group": "slow", "device": "vdb"}, "image": "vda.qcow2"})
    os.rename(away, path)


def repeated(daemon):
    body = {"name": "new", "from": FROM, "image": "new.qcow2"}
    first = daemon.request("POST", "/devices", body, Idempotency_Key='"k"')
    again = daemon.request("POST", "/devices", body, Idempotency_Key='"k"')
    expect(first.status == again.status == 201 and first.body == again.body and
           again.headers["Idempotency-Replayed"] == "true", "a key: %s, %s", first, again)
    for changed, same in (({}, True), ({"image": "other.qcow2"}, False)):
        answer = daemon.request("POST", "/devices", {**body, **changed})
        expect(answer.status == 409 and answer.body["existing"] == {"id": "new", "same_request": same},
               "sent again: %s", answer)
    events = [event["kind"] for event in daemon.get("/events?device=new")["items"]]
    expect(events[-1] == "device.attached", "events: %s", events)


def merged_meanwhile():
    """The image is merged away just before it is opened: the clone is of what took its place."""
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        for group in ("g", "h"):
            daemon.snapshot(group, ["vda"])
        daemon.close_gate("clone")
        call = Call(daemon, "POST", "/devices", {"name": "new", "from": {"group": "h", "device": "vda"}})
        daemon.await_gate("clone")
        job = "/jobs/" + daemon.request("DELETE", "/snapshot-groups/g").body["id"]
        wait_until(lambda: daemon.get(job)["state"] == "done", "the images are merged")
        daemon.open_gate("clone")
        expect(call.answer().status == 201, "%s", call.answer())
        clone = daemon.get("/devices/new")
        expect(clone["chain"][1]["image"] == daemon.image("vda.qcow2"), "%s", clone)


def test():
    merged_meanwhile()
    with GatedDaemon() as daemon:
        daemon.start()
        for name in ("vda", "vdb"):
            daemon.create_device(name, "qcow2", SIZE_BYTES)
        failed = daemon.request("POST", "/snapshot-groups", {"name": "failed", "devices": [
            {"device": "vda", "snapshot_file": "vdb.qcow2"}]})
        expect(failed.status == 422, "a group that fails: %s", failed)
        daemon.snapshot("g", ["vda"])
        bodies(daemon)
        running_group(daemon)
        missing_image(daemon)
        needed_path(daemon)
        repeated(daemon)


main(test)
