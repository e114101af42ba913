#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# POST /devices with `from`: a disk with the content of a frozen member. A member of a device that
# is detached, that is a clone itself, or on a raw image; two clones of one image, each written on
# its own; a snapshot of a clone; odd sizes. Each reads what was frozen, the frozen images never
# change, and QEMU agrees about each chain. What a clone comes from, and what has clones, is shown,
# also after a restart.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, checksums, expect, main, qcow2_check, run

SIZE_BYTES = 4 << 20
BLOCK = 64 << 10


def fill(daemon, name, text, offset=0):
    handle = daemon.nbd(name)
    handle.pwrite(text * (BLOCK // len(text)), offset)
    handle.flush()
    handle.shutdown()


def head(daemon, export, offset=0):
    handle = daemon.nbd(export)
    data = bytes(handle.pread(BLOCK, offset))
    handle.shutdown()
    return data[:1] if data == data[:1] * BLOCK else data


def clone(daemon, name, group, device, **more):
    answer = daemon.request("POST", "/devices", {"name": name, "from": {"group": group, "device": device}, **more})
    expect(answer.status == 201, "clone %s: %s", name, answer)
    body = answer.body
    expect(body["format"] == "qcow2" and not body["read_only"] and body["state"] == "online", "clone: %s", body)
    expect(daemon.get("/devices/" + name) == body, "GET differs from POST")
    return body


def detach(daemon, name):
    answer = daemon.request("DELETE", "/devices/" + name)
    expect(answer.status == 204, "DELETE %s: %s", name, answer)


def clones_of(daemon, group):
    return {member["device"]: member["clones"] for member in daemon.get("/snapshot-groups/" + group)["members"]}


def same_as_export(daemon, path, export):
    """The chain as QEMU reads it by its path, and what the daemon serves."""
    copy = os.path.join(daemon.directory, "copy.raw")
    run("nbdcopy", daemon.nbd_uri(export), copy)
    run("qemu-img", "compare", "--force-share", "-f", "qcow2", "-F", "raw", path, copy)
    os.unlink(copy)


def of_one_member(daemon):
    """Two clones, the device they come from and the frozen image are four disks."""
    daemon.create_device("vda", "qcow2", SIZE_BYTES, labels={"app": "db"})
    fill(daemon, "vda", b"1")
    group = daemon.snapshot("monday", ["vda"])
    frozen = checksums([group["members"][0]["backing_file"]])
    fill(daemon, "vda", b"2")
    first = clone(daemon, "vdb", "monday", "vda", image="vdb.qcow2", labels={"app": "test"})
    second = clone(daemon, "vdc", group["id"].upper(), "vda")
    origin = first["origin"]
    expect(origin == {"group": group["id"], "device": "vda", "at": first["created_at"], "how": "clone"},
           "origin: %s", origin)
    expect(first["size_bytes"] == SIZE_BYTES and first["labels"] == {"app": "test"}, "clone: %s", first)
    expect(second["image"] == daemon.image("vdc.qcow2") and second["labels"] == {}, "clone: %s", second)
    expect([image["image"] for image in second["chain"]] ==
           [daemon.image("vdc.qcow2"), daemon.image("vda.qcow2")], "chain: %s", second["chain"])
    expect(daemon.get("/devices/vda")["origin"] is None, "vda was not cloned")
    fill(daemon, "vdb", b"3")
    fill(daemon, "vdc", b"4", BLOCK)
    expect([head(daemon, name) for name in ("vda", "vdb", "vdc", "vda@monday")] == [b"2", b"3", b"1", b"1"],
           "disks write into each other")
    expect(head(daemon, "vdb", BLOCK) == b"\0" and head(daemon, "vdc", BLOCK) == b"4", "clones write into each other")
    expect(clones_of(daemon, "monday") == {"vda": ["vdb", "vdc"]}, "clones: %s", clones_of(daemon, "monday"))
    for name in ("vdb", "vdc"):
        qcow2_check(daemon.image(name + ".qcow2"))
        same_as_export(daemon, daemon.image(name + ".qcow2"), name)
    expect(checksums(frozen) == frozen, "the frozen image has changed")
    return frozen


def of_a_clone(daemon):
    """A snapshot of a clone, and a clone of that."""
    group = daemon.snapshot("tuesday", ["vda", "vdb"])
    frozen = checksums([member["backing_file"] for member in group["members"]])
    fill(daemon, "vdb", b"5")
    made = clone(daemon, "vdd", "tuesday", "vdb", image="vdd.qcow2")
    expect(len(made["chain"]) == 3 and head(daemon, "vdd") == b"3", "clone of a clone: %s", made)
    fill(daemon, "vdd", b"6")
    expect([head(daemon, name) for name in ("vdb", "vdd", "vdb@tuesday")] == [b"5", b"6", b"3"],
           "disks write into each other")
    expect(clones_of(daemon, "tuesday") == {"vda": [], "vdb": ["vdd"]}, "clones: %s", clones_of(daemon, "tuesday"))
    same_as_export(daemon, daemon.image("vdd.qcow2"), "vdd")
    return frozen


def of_a_detached_device(daemon):
    detach(daemon, "vda")
    clone(daemon, "vde", "tuesday", "vda")
    expect(head(daemon, "vde") == b"2", "the clone of a member that is detached")
    detach(daemon, "vdb")
    clone(daemon, "vdf", "tuesday", "vdb")
    expect(head(daemon, "vdf") == b"3", "the clone of a clone that is detached")
    expect(clones_of(daemon, "monday") == {"vda": ["vdc"]}, "a clone that is detached is listed: %s",
           clones_of(daemon, "monday"))


def beneath_another(daemon):
    """A clone of an older member is in nobody's way: the device that stands on it is detached."""
    daemon.create_device("deep", "qcow2", SIZE_BYTES)
    for group in ("older", "newer"):
        fill(daemon, "deep", group[:1].encode())
        daemon.snapshot(group, ["deep"])
    clone(daemon, "deep-older", "older", "deep")
    detach(daemon, "deep")
    expect(head(daemon, "deep-older") == b"o" and head(daemon, "deep@newer") == b"n", "what is left reads wrong")


def of_raw_images(daemon):
    """Also of odd sizes."""
    frozen = {}
    for name, size_bytes in (("rawa", SIZE_BYTES), ("rawb", 1000001), ("tiny", 1)):
        daemon.create_device(name, "raw", size_bytes)
        size_bytes = daemon.get("/devices/" + name)["size_bytes"]
        handle = daemon.nbd(name)
        handle.pwrite(b"7" * 512, size_bytes - 512)
        handle.shutdown()
        group = daemon.snapshot(name + "-group", [name])
        frozen.update(checksums([group["members"][0]["backing_file"]]))
        made = clone(daemon, name + "-clone", name + "-group", name, cluster_size_bytes=4096, extended_l2=False)
        expect(made["size_bytes"] == size_bytes and made["cluster_size_bytes"] == 4096, "clone: %s", made)
        expect(made["chain"][1]["format"] == "raw", "chain: %s", made["chain"])
        handle = daemon.nbd(name + "-clone")
        expect(handle.get_size() == size_bytes and bytes(handle.pread(512, size_bytes - 512)) == b"7" * 512,
               "the clone of %s reads wrong", name)
        handle.pwrite(b"8" * 512, 0)
        handle.flush()
        handle.shutdown()
        qcow2_check(daemon.image(name + "-clone.qcow2"))
        same_as_export(daemon, daemon.image(name + "-clone.qcow2"), name + "-clone")
    return frozen


def elsewhere(daemon):
    """In another directory the header's name of the frozen image still counts from there."""
    os.mkdir(daemon.image("lab"))
    clone(daemon, "vdg", "monday", "vda", image="lab/vdg.qcow2")
    info = run("qemu-img", "info", "--force-share", "-f", "qcow2", daemon.image("lab/vdg.qcow2"))
    expect("backing file: ../vda.qcow2 (actual path:" in info and "backing file format: qcow2" in info, "%s", info)
    expect(head(daemon, "vdg") == b"1", "the clone in another directory")


def test():
    with Daemon() as daemon:
        daemon.start()
        frozen = of_one_member(daemon)
        frozen.update(of_a_clone(daemon))
        of_a_detached_device(daemon)
        beneath_another(daemon)
        frozen.update(of_raw_images(daemon))
        elsewhere(daemon)
        before = [(device["name"], device["origin"], device["size_bytes"]) for device in daemon.list("/devices")]
        groups = [clones_of(daemon, group["name"]) for group in daemon.list("/snapshot-groups")]
        for end in (daemon.stop, daemon.kill):
            end()
            daemon.start()
            after = [(device["name"], device["origin"], device["size_bytes"]) for device in daemon.list("/devices")]
            expect(after == before, "devices were %s and are %s", before, after)
            expect([clones_of(daemon, group["name"]) for group in daemon.list("/snapshot-groups")] == groups,
                   "clones are forgotten")
            expect([head(daemon, name) for name in ("vdc", "vdd", "vde", "vdf", "vdg")] == [b"1", b"6", b"2", b"3", b"1"],
                   "clones read otherwise after a restart")
        expect(checksums(frozen) == frozen, "frozen images have changed")


main(test)
