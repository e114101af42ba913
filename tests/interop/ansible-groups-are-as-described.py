#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# The module `snapshot_group`: an equal group is no change, a different one fails and lists how;
# labels and holds are changed in place; a deletion is waited for and its job returned. Check mode
# asks the daemon by its dry run and changes nothing. `snapshot_group_info` and `job_info` list what
# is there.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from collection import Collection, Host, expect_result
from gates import GatedDaemon
from snapgroupd import expect, main

MIB = 1 << 20
BOTH = [{"device": "vda"}, {"device": "vdb"}]


def taken(host):
    checked, done = host.twice("snapshot_group", name="monday", devices=BOTH, labels={"day": 1}, holds=["backup"])
    expect(checked["changed"] and checked["snapshot_group"] is None and checked["plan"]["name"] == "monday", "%s", checked)
    group = done["snapshot_group"]
    expect(group == host.daemon.get("/snapshot-groups/monday") and group["holds"] == ["backup"], "%s", done)
    members = done["diff"]["after"]["members"]
    expect(done["diff"]["before"] == {} and [member["device"] for member in members] == ["vda", "vdb"], "%s", done["diff"])
    expect(checked["diff"]["after"] == done["diff"]["after"], "%s, then %s", checked["diff"], done["diff"])
    for same in (dict(devices=BOTH[::-1]), dict(selector={"app": "db"}), dict(), dict(labels={"day": "1"}), dict(holds=[]),
                 dict(devices=[{"device": "vda", "snapshot_file": "vda+monday.qcow2", "format": "qcow2"}, BOTH[1]])):
        expect_result(host("snapshot_group", name="monday", **same), changed=False, failed=False)
    expect_result(host("snapshot_group", name=group["id"], devices=BOTH), changed=False, failed=False)


def changed_in_place(host):
    _, done = host.twice("snapshot_group", name="monday", labels={"kept": True}, holds=["me"], release=["backup", "none"])
    group = done["snapshot_group"]
    expect(group["labels"] == {"kept": "true"} and group["holds"] == ["me"], "%s", done)
    expect(done["diff"]["before"]["labels"] == {"day": "1"} and done["diff"]["after"]["holds"] == ["me"], "%s", done)


def refused(host):
    for wanted, fields in ((dict(devices=BOTH[:1]), ["members"]), (dict(selector={"app": "web"}), ["members"]),
                           (dict(devices=[*BOTH, {"device": "vdx"}]), ["members"]),
                           (dict(devices=[BOTH[0], {"device": "vdb", "snapshot_file": "x.qcow2"}]), ["members.vdb.snapshot_file"])):
        for check_mode in (True, False):
            result = expect_result(host("snapshot_group", check_mode, name="monday", **wanted), failed=True, changed=False)
            expect([one["field"] for one in result["differences"]] == fields, "%s", result)
    for options, code in ((dict(devices=[]), "EmptyGroup"), (dict(devices=[BOTH[0], BOTH[0]]), "DuplicateDevice"),
                          (dict(devices=[{"device": "vdx"}]), "DeviceNotFound"), (dict(selector={"app": "none"}), "EmptyGroup"),
                          (dict(devices=BOTH, deadline_ms=0), "InvalidValue"),
                          (dict(devices=[{"device": "vda", "snapshot_file": "vdb.raw"}]), "OpenFileFailed"),
                          (dict(devices=[{"device": "vda", "snapshot_file": "../x"}]), "OpenFileFailed"),
                          (dict(devices=[{"device": "ro"}]), "DeviceIsReadOnly"), (dict(devices=BOTH, labels={"k": "v" * 257}), "InvalidValue"),
                          (dict(name="a b", devices=BOTH), "InvalidValue"), (dict(name="../devices", devices=BOTH), "InvalidValue"),
                          (dict(name="\u202enight", devices=BOTH), "InvalidValue"), (dict(name="x" * 65536, devices=BOTH), None)):
        for check_mode in (True, False):
            result = host("snapshot_group", check_mode, **{"name": "refused", **options})
            expect_result(result, changed=False, **(dict(code=code) if code else dict(failed=True)))
    expect_result(host("snapshot_group", name="refused"), failed=True, changed=False)
    expect_result(host("snapshot_group", name="monday", state="absent"), code="GroupHeld", changed=False)
    for release in ([], ["other"]):
        held = expect_result(host("snapshot_group", True, name="monday", state="absent", release=release), failed=True, changed=False)
        expect("held: me" in held["msg"], "%s", held)


def listed(host):
    host.twice("snapshot_group", name="tuesday", selector={"app": "db"}, labels={"day": "2"})
    for query, names in ((dict(id="monday"), ["monday"]), (dict(id="none"), []), (dict(state="committed"), ["tuesday", "monday"]),
                         (dict(labels={"day": 2}), ["tuesday"]), (dict(device="vdb", limit=1), ["tuesday"]),
                         (dict(kind="rollback"), []), (dict(device="vda", state="committed", limit=5), ["tuesday", "monday"]),
                         (dict(created_after="2999-01-01T00:00:00Z"), [])):
        result = expect_result(host("snapshot_group_info", **query), failed=False, changed=False)
        expect([group["name"] for group in result["snapshot_groups"]] == names, "%s: %s", query, result)
    expect_result(host("snapshot_group_info", created_after="yesterday"), code="InvalidParameter")


def waited_for(host):
    """Not waited for, it goes on; one that is under way is waited for, and one that is aborted is
    none."""
    host.daemon.close_gate("finish")
    begun = expect_result(host("snapshot_group", name="slow", devices=BOTH, wait=False), failed=False, changed=True)
    expect(begun["snapshot_group"]["state"] in ("preparing", "committing"), "%s", begun)
    host.daemon.await_gate("finish")
    late = expect_result(host("snapshot_group", name="slow", devices=BOTH, wait_timeout=0), failed=True, changed=False)
    expect("goes on" in late["msg"] and late["snapshot_group"]["id"] == begun["snapshot_group"]["id"], "%s", late)
    waiting = host.start("snapshot_group", name="slow", devices=BOTH)
    host.daemon.open_gate("finish")
    result = expect_result(host.finish(waiting), failed=False, changed=False)
    expect(result["snapshot_group"]["state"] == "committed", "%s", result)


def deleted(host):
    for options in (dict(name="monday", release=["me"]), dict(name="tuesday")):
        checked, done = host.twice("snapshot_group", state="absent", **options)
        if "release" in options:
            expect(checked["delete_plan"] is None, "%s", checked)
        else:
            expect(checked["delete_plan"]["freed_bytes"] > 0, "%s", checked)
        expect(done["job"]["state"] == "done" and done["snapshot_group"]["state"] == "deleted", "%s", done)
        expect(done["diff"]["after"] == {} and len(done["diff"]["before"]["members"]) == 2, "%s", done)
    background = expect_result(host("snapshot_group", name="slow", state="absent", wait=False), failed=False, changed=True)
    jobs = expect_result(host("job_info", id=background["job"]["id"]), failed=False, changed=False)["jobs"]
    expect([job["id"] for job in jobs] == [background["job"]["id"]], "%s", jobs)
    expect_result(host("snapshot_group", name="slow", state="absent"), failed=False, changed=False)
    expect(len(expect_result(host("job_info", state="done"), failed=False)["jobs"]) == 3, "jobs are missing")
    expect(len(expect_result(host("job_info", limit=2), failed=False)["jobs"]) == 2, "there is no limit")
    expect_result(host("job_info", id="none"), jobs=[])
    for name in ("none", "", "../devices/vda", "a/b?c#d", "%2e%2e", "\u202e", "x\n"):
        expect_result(host("snapshot_group", name=name, state="absent"), failed=False, changed=False)


def test():
    with Collection() as collection, GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", MIB, labels={"app": "db"})
        daemon.create_device("vdb", "raw", MIB, labels={"app": "db"})
        daemon.create_device("web", "raw", MIB, labels={"app": "web"})
        daemon.create_device("base", "raw", MIB)
        daemon.request("DELETE", "/devices/base")
        daemon.request("POST", "/devices", {"name": "ro", "image": "base.raw", "format": "raw", "read_only": True})
        host = Host(collection, daemon)
        taken(host)
        changed_in_place(host)
        refused(host)
        listed(host)
        waited_for(host)
        deleted(host)


main(test)
