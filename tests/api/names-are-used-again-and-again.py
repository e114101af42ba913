#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A job that takes, or rolls back to, and deletes a group of one name, and clones under one name,
# does so every night: where the default file is there, or is needed though it is away, the next
# free one is taken. A dry run tells it before; one that is named must be free. Of calls that come
# at once one takes the name, and the others are told so.
import os
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, group_body, main, qcow2_check

MIB = 1 << 20


def post(daemon, path, body, status=201, **headers):
    answer = daemon.request("POST", path, body, **headers)
    expect(answer.status == status, "%s %s: %s", path, body, answer)
    return answer.body


def files(group):
    return [os.path.basename(member["snapshot_file"]) for member in group["members"]]


def clone(daemon, name, group, device, **more):
    return post(daemon, "/devices", {"name": name, "from": {"group": group, "device": device}, **more})


def write(daemon, device, text):
    handle = daemon.nbd(device)
    handle.pwrite(text.ljust(512).encode(), 0)
    handle.flush()
    handle.shutdown()


def read(daemon, export):
    handle = daemon.nbd(export)
    text = handle.pread(512, 0).decode().rstrip()
    handle.shutdown()
    return text


def groups(daemon):
    """A disk and its clone, night after night."""
    daemon.create_device("vda", "qcow2", MIB)
    daemon.snapshot("base", ["vda"])
    clone(daemon, "vdb", "base", "vda")
    seen = []
    for night in range(6):
        write(daemon, "vda", "a%d" % night)
        write(daemon, "vdb", "b%d" % night)
        plan = post(daemon, "/snapshot-groups?dry_run=true", group_body("t", ["vda", "vdb"]), 200)
        group = daemon.snapshot("t", ["vda", "vdb"])
        expect(files(plan) == files(group), "%s %s", plan, group)
        seen.append(files(group))
        expect((read(daemon, "vda@t"), read(daemon, "vdb@t")) == ("a%d" % night, "b%d" % night), "night %d", night)
        again = daemon.request("POST", "/snapshot-groups", group_body("t", ["vda", "vdb"]))
        expect((again.status, again.body["code"]) == (409, "GroupExists"), "%s", again)
        expect(again.body["existing"] == {"id": group["id"], "same_request": True}, "%s", again)
        daemon.delete_group("t")
    expect(seen == [["vda+t.qcow2", "vdb+t.qcow2"]] * 6, "%s", seen)
    with open(daemon.image("vda+t.qcow2"), "wb"):
        expect(files(daemon.snapshot("t", ["vda", "vdb"])) == ["vda+t+2.qcow2", "vdb+t.qcow2"], "a file is there")
    daemon.delete_group("t")
    os.unlink(daemon.image("vda+t.qcow2"))
    expect((read(daemon, "vda"), read(daemon, "vdb")) == ("a5", "b5"), "what is there now")


def keys(daemon):
    """A call that is sent again with its key gets its answer, and takes nothing."""
    first = post(daemon, "/snapshot-groups", group_body("t", ["vda"]), Idempotency_Key="night-7")
    there = daemon.image_names()
    answer = daemon.request("POST", "/snapshot-groups", group_body("t", ["vda"]), Idempotency_Key="night-7")
    expect(answer.status == 201 and answer.body["id"] == first["id"] and files(answer.body) == files(first), "%s", answer)
    expect(daemon.image_names() == there, "%s", daemon.image_names())
    daemon.delete_group("t")


def rollbacks(daemon):
    daemon.create_device("vdc", "qcow2", MIB)
    write(daemon, "vdc", "good")
    daemon.snapshot("good", ["vdc"])
    seen = []
    for night in range(4):
        write(daemon, "vdc", "bad%d" % night)
        plan = post(daemon, "/snapshot-groups/good/rollbacks?dry_run=true", {"name": "safety"}, 200)
        safety = post(daemon, "/snapshot-groups/good/rollbacks", {"name": "safety"})
        expect(files(plan) == files(safety), "%s %s", plan, safety)
        seen += files(safety)
        expect((read(daemon, "vdc"), read(daemon, "vdc@safety")) == ("good", "bad%d" % night), "night %d", night)
        daemon.delete_group("safety")
    names = ["vdc+safety.qcow2", "vdc+safety+2.qcow2"]
    expect(seen[0] == names[0] and sorted(set(seen)) == sorted(names), "%s", seen)


def clones(daemon):
    """Detaching leaves the file. One that a group needs is given to no other, though it is away."""
    for tail, detach in (("", ""), ("++2", "?files=delete"), ("++2", "")):
        made = clone(daemon, "vdd", "good", "vdc")
        expect(made["image"] == daemon.image("vdd%s.qcow2" % tail), "%s", made)
        expect(read(daemon, "vdd") == "good", "a clone")
        expect(daemon.request("DELETE", "/devices/vdd" + detach).status == 204, "detached")
    for given in ("vdd.qcow2", "vdd++2.qcow2"):
        body = {"name": "vdd", "from": {"group": "good", "device": "vdc"}, "image": given}
        expect(post(daemon, "/devices", body, 422)["code"] == "OpenFileFailed", "%s is there", given)
    clone(daemon, "vde", "good", "vdc")
    daemon.snapshot("needs", ["vde"])
    expect(daemon.request("DELETE", "/devices/vde").status == 204, "detached")
    os.rename(daemon.image("vde.qcow2"), daemon.image("away"))
    expect(clone(daemon, "vde", "good", "vdc")["image"] == daemon.image("vde++2.qcow2"), "needed")
    os.rename(daemon.image("away"), daemon.image("vde.qcow2"))


def others(daemon):
    """Whatever has the name, a directory or a link, is left alone; one that is named is refused."""
    for number, make in (("", lambda path: os.symlink("nowhere", path)), ("+2", os.mkdir)):
        make(daemon.image("vdc+n%s.qcow2" % number))
    expect(files(daemon.snapshot("n", ["vdc"])) == ["vdc+n+3.qcow2"], "the third")
    body = {"name": "m", "devices": [{"device": "vdc", "snapshot_file": "vdc+n.qcow2"}]}
    expect(post(daemon, "/snapshot-groups", body, 422)["code"] == "OpenFileFailed", "named")
    longest = "n" * 128
    device = daemon.create_device("d" * 64, "qcow2", MIB)["name"]
    os.symlink("nowhere", daemon.image("%s+%s.qcow2" % (device, longest)))
    expect(files(daemon.snapshot(longest, [device])) == ["%s+%s+2.qcow2" % (device, longest)], "the longest")


def at_once(daemon):
    for _ in range(8):
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(
            daemon.request("POST", "/snapshot-groups", group_body("race", ["vda"])))) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        codes = {answer.body["code"] for answer in answers if answer.status != 201}
        expect([answer.status for answer in answers].count(201) == 1 and codes <= {"GroupExists", "DeviceInUse"},
               "%s", [answer.body for answer in answers])
        daemon.delete_group("race")


def test():
    with Daemon() as daemon:
        daemon.start()
        for step in (groups, keys, rollbacks, clones, others, at_once):
            step(daemon)
        for name in daemon.image_names():
            if os.path.isfile(daemon.image(name)):
                qcow2_check(daemon.image(name))


main(test)
