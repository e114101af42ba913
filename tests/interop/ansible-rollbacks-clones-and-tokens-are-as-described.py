#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# The modules `snapshot_group_rollback`, `clone`, `snapshot_group_extents_info` and `token`: what a
# disk's origin says decides whether a rollback is done; what is there as described is left alone,
# what is different is listed; check mode changes nothing; extents rebuild a disk; a lost secret is
# replaced.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from collection import Collection, Host, expect_result
from snapgroupd import Daemon, expect, main

MIB = 1 << 20
BLOCK = 65536


def write(daemon, name, value, blocks=(0,)):
    handle = daemon.nbd(name)
    for block in blocks:
        handle.pwrite(bytes([value]) * BLOCK, block * BLOCK)
    handle.shutdown()


def content(daemon, export):
    handle = daemon.nbd(export)
    found = bytearray(handle.pread(handle.get_size(), 0))
    handle.shutdown()
    return found


def rolled_back(host):
    daemon = host.daemon
    write(daemon, "vda", 2)
    checked, done = host.twice("snapshot_group_rollback", group="monday", name="undo", labels={"why": "test"})
    expect(checked["plan"]["rolled_back_to"] == daemon.get("/snapshot-groups/monday")["id"], "%s", checked)
    expect(checked["diff"]["before"] == done["diff"]["before"] and checked["diff"]["after"] == done["diff"]["after"], "%s, then %s",
           checked["diff"], done["diff"])
    expect(done["snapshot_group"] == daemon.get("/snapshot-groups/undo") and done["devices"][0] == daemon.get("/devices/vda"), "%s", done)
    expect(content(daemon, "vda")[0] == 1 and content(daemon, "vda@undo")[0] == 2, "the content is wrong")
    again = host("snapshot_group_rollback", group=done["snapshot_group"]["rolled_back_to"], name="another")
    expect_result(again, failed=False, changed=False, snapshot_group=done["snapshot_group"])
    expect("warnings" not in again, "%s", again)


def rolled_back_again(host):
    """What was written since is not known to the daemon; a client, or a group, is a reason to warn.
    """
    daemon = host.daemon
    write(daemon, "vda", 3)
    handle = daemon.nbd("vda")
    told = expect_result(host("snapshot_group_rollback", group="monday"), failed=False, changed=False)
    expect("vda" in told["warnings"][0] and "force" in told["warnings"][0], "%s", told)
    expect_result(host("snapshot_group_rollback", True, group="monday", force=True), code="DeviceInUse")
    expect_result(host("snapshot_group_rollback", group="monday", force=True), code="DeviceInUse")
    expect_result(host("snapshot_group_rollback", group="monday", force=True, disconnect=True), failed=False, changed=True)
    del handle
    expect(content(daemon, "vda")[0] == 1, "it is not rolled back")
    daemon.snapshot("since", ["vdb"])
    told = expect_result(host("snapshot_group_rollback", group="monday"), failed=False, changed=False)
    expect(told["warnings"][0].count("vdb") == 1 and ": vdb;" in told["warnings"][0], "%s", told)
    for group in ("undo", "monday"):  # there and back
        host.twice("snapshot_group_rollback", group=group)
    for options, code in ((dict(group="none"), "GroupNotFound"), (dict(group="../monday"), "GroupNotFound"), (dict(group=""), None),
                          (dict(group="since", name="undo"), "GroupExists"), (dict(group="since", name="a b"), "InvalidValue"),
                          (dict(group="since", deadline_ms=0), "InvalidValue"), (dict(group="since", labels={"k": "v" * 257}), "InvalidValue")):
        for check_mode in (True, False):
            result = host("snapshot_group_rollback", check_mode, **options)
            expect_result(result, changed=False, **(dict(code=code) if code else dict(failed=True)))


def cloned(host):
    daemon = host.daemon
    wanted = dict(name="test", group="monday", device="vda", labels={"app": "test"}, cluster_size_bytes=65536)
    _, done = host.twice("clone", **wanted)
    expect(done["device"] == daemon.get("/devices/test") and content(daemon, "test")[0] == 1, "%s", done)
    expect(content(daemon, "test") == content(daemon, "vda@monday"), "it is no clone")
    host.twice("clone", **{**wanted, "labels": {}})
    for options, field in ((dict(device="vdb"), "origin"), (dict(group="undo"), "origin"), (dict(image="other.qcow2"), "image"),
                           (dict(name="vda"), "origin"), (dict(extended_l2=False), "extended_l2"), (dict(group="gone"), "origin")):
        for check_mode in (True, False):
            result = expect_result(host("clone", check_mode, **{**wanted, **options}), failed=True, changed=False)
            expect(result["differences"][0]["field"] == field, "%s", result)
    for options, code in ((dict(group="none"), "GroupNotFound"), (dict(device="vdx"), "DeviceNotFound"),
                          (dict(image="vda.qcow2"), "OpenFileFailed"), (dict(cluster_size_bytes=100), "InvalidValue")):
        expect_result(host("clone", **{**wanted, "name": "other", **options}), code=code, changed=False)
    for options in (dict(group="none"), dict(device="vdx")):
        expect_result(host("clone", True, **{**wanted, "name": "other", **options}), failed=True, changed=False)
    daemon.snapshot("of-test", ["test"])
    host("snapshot_group_rollback", group="of-test")
    expect_result(host("clone", **wanted), failed=False)
    for group in ("monday", "undo"):  # also if its group was deleted since
        host.twice("snapshot_group", name=group, state="absent")
    write(daemon, "vda", 9, [9])
    host("snapshot_group", name="of-test", state="absent")
    expect_result(host("clone", name="test", group="monday", device="vda"), failed=False, changed=False)
    expect_result(host("clone", name="test"), failed=True, changed=False)
    host.twice("clone", name="test", state="absent")
    host.twice("clone", name="extra", group="since", device="vdb")
    _, gone = host.twice("clone", name="extra", state="absent", files="delete")
    expect(gone["device"]["name"] == "extra" and "extra.qcow2" not in daemon.image_names(), "%s", daemon.image_names())


def extents_rebuild(host):
    daemon = host.daemon
    daemon.snapshot("old", ["vda"])
    blocks = [block for block in range(0, 128, 3)]
    write(daemon, "vda", 5, blocks)
    handle = daemon.nbd("vda")
    handle.zero(BLOCK, 3 * BLOCK)
    handle.shutdown()
    daemon.snapshot("new", ["vda"])
    whole = expect_result(host("snapshot_group_extents_info", group="new", device="vda", since="old"), failed=False, changed=False)
    rebuilt, new = content(daemon, "vda@old"), content(daemon, "vda@new")
    for one in whole["extents"]:
        begin, end = one["offset_bytes"], one["offset_bytes"] + one["length_bytes"]
        rebuilt[begin:end] = bytes(end - begin) if one["zero"] else new[begin:end]
    expect(rebuilt == new and whole["size_bytes"] == len(new) and whole["next"] is None, "%s", whole)
    expect(whole["data_bytes"] == (len(blocks) - 1) * BLOCK, "%s", whole["data_bytes"])
    parts, cursor = [], None
    while True:
        options = {} if cursor is None else {"cursor": cursor}
        part = expect_result(host("snapshot_group_extents_info", True, group="new", device="vda", since="old", limit=30, **options),
                             failed=False)
        parts += part["extents"]
        cursor = part["next"]
        if cursor is None:
            break
    expect(parts == whole["extents"], "%s, then %s", whole["extents"], parts)
    expect(host("snapshot_group_extents_info", group="old", device="vda")["extents"], "nothing is allocated")
    for options, code in ((dict(group="none"), "GroupNotFound"), (dict(device="vdx"), "DeviceNotFound"), (dict(since="none"), "GroupNotFound"),
                          (dict(cursor="x"), "InvalidParameter"), (dict(limit=0), "InvalidParameter"), (dict(since="since"), "DeviceNotFound")):
        expect_result(host("snapshot_group_extents_info", **{"group": "new", "device": "vda", "since": "old", **options}), code=code)


def tokens(host):
    wanted = dict(name="dash", scope="read", expires_at="2099-12-31T01:00:00.5+01:00")
    checked, done = host.twice("token", **wanted)
    expect(checked["secret"] is None and done["secret"].startswith("sgt_"), "%s", done)
    expect(done["token_info"] == host.daemon.get("/tokens/dash") and done["secret"] not in str(done["diff"]), "%s", done)
    for same in ("2099-12-31T00:00:00.500000Z", None):
        expect_result(host("token", **{**wanted, "expires_at": same}), failed=False, changed=False, secret=None)
    for options, fields in ((dict(scope="admin"), ["scope"]), (dict(expires_at="never"), ["expires_at"]),
                            (dict(scope="snapshot", expires_at="2099-12-31T00:00:00Z"), ["scope", "expires_at"])):
        for check_mode in (True, False):
            result = expect_result(host("token", check_mode, **{**wanted, **options}), failed=True, changed=False)
            expect([one["field"] for one in result["differences"]] == fields, "%s", result)
    host.twice("token", **{**wanted, "scope": "admin", "regenerate": "different"})
    new = expect_result(host("token", **{**wanted, "scope": "admin", "regenerate": "always"}), failed=False, changed=True)
    expect(new["secret"] != done["secret"], "%s", new)
    for options, code in ((dict(name="a b"), "InvalidValue"), (dict(expires_at="tomorrow"), "InvalidValue"),
                          (dict(expires_at="2001-01-01T00:00:00Z"), "InvalidValue"), (dict(name="x" * 65), "InvalidValue")):
        expect_result(host("token", **{**wanted, "name": "other", **options}), code=code, changed=False)
    host.twice("token", name="dash", state="absent")
    # Equal requests are carried out once, but what has gone since is made anew.
    for seed in ("one", "one"):
        made = expect_result(host("token", name="seed", scope="read", idempotency_key=seed), failed=False, changed=True)
        expect(made["secret"], "%s", made)
        expect_result(host("token", name="seed", state="absent"), failed=False, changed=True)


def test():
    with Collection() as collection, Daemon() as daemon:
        daemon.start_with({"vda": "qcow2", "vdb": "raw"}, 8 * MIB)
        write(daemon, "vda", 1)
        daemon.snapshot("monday", ["vda", "vdb"])
        host = Host(collection, daemon)
        rolled_back(host)
        rolled_back_again(host)
        cloned(host)
        extents_rebuild(host)
        tokens(host)


main(test)
