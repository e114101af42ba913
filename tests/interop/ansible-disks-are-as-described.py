#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# The module `device`: a disk that is there as described is left alone, labels and clients are
# changed in place, what cannot be changed fails and is listed, and check mode tells the same
# without doing it. `device_info` lists what `device` has made.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from collection import Collection, Host, expect_result
from snapgroupd import Daemon, expect, main

MIB = 1 << 20
DISK = dict(name="vda", image="vda.qcow2", format="qcow2", size_bytes=3 * MIB, cluster_size_bytes=65536, extended_l2=True,
            labels={"app": "db", "generation": 7, "is_old": True}, read_only=False)


def made_once(host):
    checked, done = host.twice("device", **DISK)
    expect(checked["changed"] and checked["device"] is None, "%s", checked)
    expect(checked["diff"]["before"] == {} and checked["diff"]["after"]["labels"] == {"app": "db", "generation": "7", "is_old": "true"},
           "%s", checked)
    expect(done["device"] == host.daemon.get("/devices/vda"), "%s", done)
    expect_result(host("device", **{**DISK, "image": host.daemon.image("vda.qcow2")}), changed=False, failed=False)


def changed_in_place(host):
    checked, done = host.twice("device", **{**DISK, "labels": {"app": "web", "generation": "8"}})
    expect(done["device"]["labels"] == {"app": "web", "generation": "8"}, "%s", done)
    expect(done["diff"] == checked["diff"] and done["diff"]["before"]["labels"]["app"] == "db", "%s, %s", checked, done)
    host.twice("device", name="vda", labels={})
    expect(not host.daemon.get("/devices/vda")["labels"], "labels are left")
    expect_result(host("device", name="vda"), changed=False, failed=False)


def grown(host):
    disk = {**DISK, "name": "big", "image": "big.qcow2"}
    host.twice("device", **disk)
    checked, done = host.twice("device", **{**disk, "size_bytes": 4 * MIB - 100})
    expect(done["device"]["size_bytes"] == 4 * MIB and checked["diff"]["after"]["size_bytes"] == 4 * MIB, "%s, %s", checked, done)
    host.twice("device", name="big", size_bytes=5 * MIB, labels={"app": "big"})
    smaller = expect_result(host("device", **disk), failed=True, changed=False)
    expect([one["field"] for one in smaller["differences"]] == ["size_bytes"], "%s", smaller)


def refused(host):
    for field, value, other in (("image", "other.qcow2", None), ("format", "raw", "qcow2"), ("read_only", True, False),
                                ("size_bytes", MIB, 3 * MIB), ("cluster_size_bytes", 32768, 65536), ("extended_l2", False, True)):
        for check_mode in (True, False):
            result = expect_result(host("device", check_mode, **{**DISK, field: value}), failed=True, changed=False)
            expect([one["field"] for one in result["differences"]] == [field], "%s", result)
            expect(other is None or result["differences"] == [{"field": field, "is": other, "wanted": value}], "%s", result)
            expect(field in result["msg"], "%s", result)
    for name in ("vdx", "../vda", "a b", "", "vda\n", "\u202evda", "x" * 65):
        for check_mode in (True, False):
            expect_result(host("device", check_mode, name=name), failed=True, changed=False)
        expect_result(host("device", name=name, state="absent"), failed=False, changed=False)
    for body, code in (({"image": "vda.qcow2"}, "ImageInUse"), ({"image": "none.qcow2"}, "OpenFileFailed"),
                       ({"image": "../out.raw"}, "OpenFileFailed"), ({"image": "new.raw", "size_bytes": 0}, "InvalidValue"),
                       ({"image": "new.raw", "format": "raw", "size_bytes": MIB, "allowed_clients": ["one"]}, "InvalidValue"),
                       ({"image": "new.raw", "size_bytes": MIB, "labels": {"k": "v" * 257}}, "InvalidValue")):
        expect_result(host("device", **{"name": "vdb", "format": "qcow2", **body}), code=code, changed=False)


def listed(host):
    for name in ("vdb", "vdc"):
        host.twice("device", name=name, image=name + ".raw", format="raw", size_bytes=MIB, labels={"app": "web", "name": name})
    for query, names in (({}, ["vda", "vdb", "vdc"]), ({"name": "vdb"}, ["vdb"]), ({"name": "none"}, []), ({"state": "failed"}, []),
                         ({"labels": {"app": "web"}}, ["vdb", "vdc"]), ({"labels": {"app": "web", "name": "vdc"}}, ["vdc"])):
        for check_mode in (True, False):
            result = expect_result(host("device_info", check_mode, **query), failed=False, changed=False)
            expect([device["name"] for device in result["devices"]] == names, "%s: %s", query, result)
    expect(result["devices"] == [host.daemon.get("/devices/vdc")], "%s", result)


def detached(host):
    handle = host.daemon.nbd("vda")
    expect_result(host("device", name="vda", state="absent"), code="DeviceInUse", changed=False)
    waiting = host.start("device", name="vda", state="absent")
    handle.shutdown()  # it is repeated until then
    expect_result(host.finish(waiting), failed=False, changed=True)
    expect_result(host("device", **DISK), code="OpenFileFailed")  # its file has stayed
    attached = {key: value for key, value in DISK.items() if key != "size_bytes"}
    host.twice("device", **attached)
    host.twice("device", name="vda", state="absent")
    for name in ("vdb", "vdc"):
        expect_result(host("device", name=name, state="absent", files="delete"), code="ImageIsKept")
        host.twice("device", name=name, state="absent", discard_unflushed=True)
    expect(host.daemon.image_names() == ["vda.qcow2", "vdb.raw", "vdc.raw"], "%s", host.daemon.image_names())


def test():
    with Collection() as collection, Daemon() as daemon:
        daemon.start()
        host = Host(collection, daemon)
        made_once(host)
        changed_in_place(host)
        host.twice("device", **DISK)
        refused(host)
        listed(host)
        detached(host)
        grown(host)


main(test)
