#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A rollback that cannot be is refused with a code for each reason, named at its member, by a dry
# run alike; all devices, files and groups are as before. Of two rollbacks and groups that share a
# device and run at once one is refused, and names the other.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import Call, GatedDaemon
from snapgroupd import checksums, expect, group_body, main, run, wait_until

SIZE_BYTES = 1 << 20
ROLLBACKS = "/snapshot-groups/g/rollbacks"


def state(daemon):
    files = checksums(os.path.join(directory, name) for directory, _, names in os.walk(daemon.images) for name in names)
    return files, daemon.list("/devices"), daemon.list("/snapshot-groups?state=committed")


def essence(problem):
    return {key: value for key, value in problem.items() if key not in ("instance", "request_id")}


def refuse(daemon, status, code, body=None, path=ROLLBACKS, **more):
    """By a dry run, then by the call itself."""
    body = {"name": "r"} if body is None else body
    before = state(daemon)
    dry = daemon.request("POST", path + "?dry_run=true", body)
    answer = daemon.request("POST", path, body)
    expect((answer.status, answer.body["code"]) == (status, code), "not %s: %s", code, answer)
    expect(essence(dry.body) == essence(answer.body), "%s, by a dry run %s", answer, dry)
    for key, value in more.items():
        expect(answer.body.get(key) == value, "%s is not %s: %s", key, value, answer)
    expect(state(daemon) == before, "something has changed")
    return answer


def bodies(daemon):
    for body, status, code, pointer in (
            ({"name": "no name"}, 422, "InvalidValue", "/name"), ({"name": 1}, 400, "WrongType", "/name"),
            ({"disconnect": "yes"}, 400, "WrongType", "/disconnect"), ({"deadline_ms": 0}, 422, "InvalidValue", "/deadline_ms"),
            ({"labels": {"a": 1}}, 400, "WrongType", "/labels/a"), ({"devices": []}, 400, "UnknownField", "/devices")):
        answer = refuse(daemon, status, code, body)
        expect(answer.body["pointer"] == pointer, "%s: %s", body, answer)
    refuse(daemon, 404, "GroupNotFound", path="/snapshot-groups/none/rollbacks")
    answer = refuse(daemon, 409, "GroupExists", {"name": "g"}, pointer="/name")
    expect(answer.body["existing"] == {"id": daemon.get("/snapshot-groups/g")["id"], "same_request": False}, "%s", answer)
    answer = daemon.request("GET", ROLLBACKS)
    expect(answer.status == 405 and answer.headers["Allow"] == "POST, OPTIONS", "%s %s", answer, answer.headers)


def aborted(daemon):
    """An attempt that failed has nothing to go back to, neither by its id."""
    daemon.request("POST", "/snapshot-groups", group_body("failed", ["vda", "none"]))
    attempt = daemon.get("/snapshot-groups?state=aborted&name=failed")["items"][0]["id"]
    for group in ("failed", attempt):
        refuse(daemon, 404, "GroupNotFound", path="/snapshot-groups/%s/rollbacks" % group)


def clients(daemon):
    handle = daemon.nbd("vdb")
    holder = {"kind": "export", "id": "vdb", "client": {"pid": os.getpid(), "uid": os.getuid()}}
    answer = refuse(daemon, 409, "DeviceInUse", device="vdb", holder=holder)
    kept = daemon.get(answer.body["instance"])
    expect((kept["kind"], kept["state"], kept["error"]["code"]) == ("rollback", "aborted", "DeviceInUse"), "%s", kept)
    expect("pointer" not in answer.body, "the request does not name the member: %s", answer)
    handle.pwrite(b"x" * 512, 0)
    handle.shutdown()
    wait_until(lambda: daemon.get("/devices/vdb")["clients"] == 0, "the client has gone")
    reader = daemon.nbd("vdb@g")
    made = daemon.request("POST", ROLLBACKS, {"name": "with-reader"})
    expect(made.status == 201, "who reads a frozen image is in nobody's way: %s", made)
    reader.shutdown()


def members(daemon):
    """One was detached; one is another disk now, one cannot be written."""
    expect(daemon.request("DELETE", "/devices/vdb").status == 204, "detach")
    refuse(daemon, 404, "DeviceNotFound", device="vdb")
    daemon.create_device("vdb", "raw", SIZE_BYTES, image="other.raw")
    refuse(daemon, 422, "NotRelated", device="vdb")
    expect(daemon.request("DELETE", "/devices/vdb").status == 204, "detach")
    answer = daemon.request("POST", "/devices", {"name": "vdb", "image": "vdb.raw", "format": "raw", "read_only": True})
    expect(answer.status == 201, "%s", answer)
    refuse(daemon, 422, "DeviceIsReadOnly", device="vdb")
    expect(daemon.request("DELETE", "/devices/vdb").status == 204, "detach")
    os.rename(daemon.image("vdb+with-reader.qcow2"), daemon.image("away"))
    run("qemu-img", "create", "-q", "-f", "raw", daemon.image("plain"), str(SIZE_BYTES))
    answer = daemon.request("POST", "/devices", {"name": "vdb", "image": "plain", "format": "raw"})
    expect(answer.status == 201, "%s", answer)
    daemon.snapshot("plain", ["vdb"])
    os.rename(daemon.image("plain"), daemon.image("plain-away"))
    refuse(daemon, 422, "OpenFileFailed", device="vdb", path="/snapshot-groups/plain/rollbacks")
    os.rename(daemon.image("plain-away"), daemon.image("plain"))
    made = daemon.request("POST", "/snapshot-groups/plain/rollbacks", {"name": "r"})
    expect(made.status == 201, "once it is back: %s", made)


def races(daemon):
    """Against a rollback, a group and a detach; then one to a group that is under way."""
    daemon.create_device("vdc", "qcow2", SIZE_BYTES)
    daemon.snapshot("c", ["vdc"])
    daemon.close_gate("prepare")
    call = Call(daemon, "POST", "/snapshot-groups/c/rollbacks", {"name": "first"})
    daemon.await_gate("prepare")
    holder = {"kind": "group", "id": daemon.get("/snapshot-groups/first")["id"]}
    for method, path, body in (("POST", "/snapshot-groups/c/rollbacks", {"name": "second"}),
                               ("POST", "/snapshot-groups", group_body("second", ["vdc"])),
                               ("DELETE", "/devices/vdc", None)):
        answer = daemon.request(method, path, body)
        expect((answer.status, answer.body["code"], answer.body.get("holder")) == (409, "DeviceInUse", holder), "%s", answer)
    answer = daemon.request("POST", "/snapshot-groups/first/rollbacks", {"name": "third"})
    expect((answer.status, answer.body["code"], answer.body.get("holder")) == (409, "DeviceInUse", holder), "%s", answer)
    daemon.open_gate("prepare")
    expect(call.answer().status == 201, "%s", call.answer())
    daemon.close_gate("prepare")
    call = Call(daemon, "POST", "/snapshot-groups/c/rollbacks", {"name": "late", "deadline_ms": 50})
    answer = call.answer()
    expect((answer.status, answer.body["code"]) == (504, "DeadlineExceeded"), "%s", answer)
    daemon.open_gate("prepare")
    daemon.await_state(answer.body["instance"].split("/")[-1], "aborted")
    daemon.roll_back("c", "late")


def merges(daemon):
    """The image that was to be gone back to is merged away just before it is opened."""
    daemon.create_device("vdd", "qcow2", SIZE_BYTES)
    for group in ("d", "e"):
        daemon.snapshot(group, ["vdd"])
    daemon.close_gate("begin")
    call = Call(daemon, "POST", "/snapshot-groups/e/rollbacks", {"name": "beside"})
    daemon.await_gate("begin")
    job = "/jobs/" + daemon.request("DELETE", "/snapshot-groups/d").body["id"]
    wait_until(lambda: daemon.get(job)["state"] == "done", "the images are merged")
    daemon.open_gate("begin")
    answer = call.answer()
    expect((answer.status, answer.body["code"], answer.body["retryable"]) == (409, "DeviceInUse", True), "%s", answer)
    daemon.roll_back("e", "beside")


def test():
    with GatedDaemon() as daemon:
        daemon.start_with({"vda": "qcow2", "vdb": "raw"}, SIZE_BYTES)
        daemon.snapshot("g", ["vda", "vdb"])
        bodies(daemon)
        aborted(daemon)
        clients(daemon)
        members(daemon)
        races(daemon)
        merges(daemon)


main(test)
