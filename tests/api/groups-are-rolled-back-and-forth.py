#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A rollback gives every device of a group the content and the size that it had, and keeps what was
# there as an ordinary group: read, labelled, listed by its kind, and rolled back to, which undoes
# it. Later groups stay. Images, chains and events say what was done, also after a kill.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, qcow2_check, run

SIZE_BYTES = 1 << 20
DISKS = {"vda": "qcow2", "vdb": "raw"}


def fill(daemon, value):
    for name in DISKS:
        handle = daemon.nbd(name)
        handle.pwrite(bytes([value]) * 4096, 8192)
        handle.shutdown()


def value_of(daemon, export):
    handle = daemon.nbd(export)
    found = bytes(handle.pread(4096, 8192))
    handle.shutdown()
    expect(found == found[:1] * 4096, "%s is torn", export)
    return found[0]


def expect_values(daemon, value, group=None):
    for name in DISKS:
        export = "%s@%s" % (name, group) if group else name
        expect(value_of(daemon, export) == value, "%s is not %d", export, value)


def roll_back(daemon, group, name, **more):
    answer = daemon.request("POST", "/snapshot-groups/%s/rollbacks" % group, {"name": name, **more})
    expect(answer.status == 201, "to %s: %s", group, answer)
    expect(answer.headers["Location"] == "/snapshot-groups/" + answer.body["id"], "%s", answer.headers)
    shown = daemon.request("GET", answer.headers["Location"])
    expect(shown.body == answer.body and shown.headers["ETag"] == answer.headers["ETag"], "%s, then %s", answer, shown)
    return answer.body


def chain(daemon, name):
    return [os.path.basename(image["image"]) for image in daemon.get("/devices/" + name)["chain"]]


def there(daemon, first):
    """What the safety group says of itself, and the devices of it."""
    before = {name: daemon.request("GET", "/devices/" + name) for name in DISKS}
    safety = roll_back(daemon, "first", "safety", labels={"why": "test"})
    expect((safety["kind"], safety["state"], safety["rolled_back_to"], safety["labels"]) ==
           ("rollback", "committed", first["id"], {"why": "test"}), "%s", safety)
    for old, new in zip(first["members"], safety["members"]):
        name = old["device"]
        device = daemon.request("GET", "/devices/" + name)
        expect(new["base_file"] == old["backing_file"] and new["backing_file"] == before[name].body["top"],
               "%s after %s", new, old)
        expect(device.body["origin"] == {"group": first["id"], "device": name, "at": safety["cut_at"], "how": "rollback"},
               "%s", device)
        expect(new["snapshot_file"] == device.body["top"] == daemon.image(name + "+safety.qcow2"), "%s", device)
        expect(device.headers["ETag"] != before[name].headers["ETag"], "the tag of %s stays", name)
    expect_values(daemon, 1)
    expect_values(daemon, 2, "later")
    expect_values(daemon, 3, "safety")
    expect_values(daemon, 3, safety["id"])
    expect(chain(daemon, "vda") == ["vda+safety.qcow2", "vda.qcow2"], "%s", chain(daemon, "vda"))
    expect(daemon.get("/snapshot-groups/first") == first, "the group has changed")


def listed(daemon):
    def names(query):
        return [group["name"] for group in daemon.get("/snapshot-groups" + query)["items"]]
    expect(names("") == ["safety", "later", "first"], "%s", names(""))
    expect(names("?kind=rollback") == ["safety"], "%s", names("?kind=rollback"))
    expect(names("?kind=snapshot&state=committed") == ["later", "first"], "%s", names("?kind=snapshot"))
    expect(names("?kind=rollback&device=vdb&label=why=test") == ["safety"], "no rollback of vdb")
    expect(names("?kind=rollback&label=why=other") == [], "a rollback too many")
    for kind in ("cut", "", "x"):
        answer = daemon.request("GET", "/snapshot-groups?kind=" + kind)
        expect((answer.status, answer.body["code"]) == (400, "InvalidParameter"), "%s", answer)
    answer = daemon.request("PATCH", "/snapshot-groups/safety", {"labels": {"why": None, "a": "b"}})
    expect(answer.status == 200 and answer.body["labels"] == {"a": "b"}, "%s", answer)


def recorded(daemon, first):
    events = [(event["kind"], event["detail"].get("kind"), event["detail"].get("rolled_back_to"))
              for event in daemon.get("/events?limit=1000")["items"] if event["detail"].get("name") == "safety"]
    expect(events == [(kind, "rollback", first["id"]) for kind in ("group.preparing", "group.committed", "group.updated")],
           "%s", events)
    with daemon.stopped_database() as database:
        rows = dict(database.execute("SELECT path, backing FROM images WHERE role = 'made'"))
        backing = {os.path.basename(path): os.path.basename(under) for path, under in rows.items()}
    expect(backing == {"vda+first.qcow2": "vda.qcow2", "vdb+first.qcow2": "vdb.raw", "vda+later.qcow2": "vda+first.qcow2",
                       "vdb+later.qcow2": "vdb+first.qcow2", "vda+safety.qcow2": "vda.qcow2",
                       "vdb+safety.qcow2": "vdb.raw"}, "%s", backing)


def and_back(daemon):
    fill(daemon, 4)
    daemon.kill()
    daemon.start()
    expect_values(daemon, 4)
    expect_values(daemon, 3, "safety")
    roll_back(daemon, "safety", "undo")
    expect_values(daemon, 3)
    expect_values(daemon, 4, "undo")
    roll_back(daemon, "later", "over")
    expect_values(daemon, 2)
    fill(daemon, 5)
    daemon.snapshot("again", list(DISKS))
    fill(daemon, 6)
    roll_back(daemon, "first", "second")
    expect_values(daemon, 1)
    for group, value in (("first", 1), ("later", 2), ("safety", 3), ("undo", 4), ("over", 3), ("again", 5), ("second", 6)):
        expect_values(daemon, value, group)


def sizes(daemon):
    """The group is of a smaller disk, which the device was a part of."""
    daemon.create_device("small", "qcow2", SIZE_BYTES)
    daemon.snapshot("small", ["small"])
    expect(daemon.request("DELETE", "/devices/small").status == 204, "detach")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "small+small.qcow2", "-F", "qcow2", daemon.image("large"),
        str(4 * SIZE_BYTES))
    daemon.attach_device("small", "large", "qcow2")
    safety = roll_back(daemon, "small", "large")
    expect(safety["members"][0]["size_bytes"] == 4 * SIZE_BYTES, "%s", safety)
    expect(daemon.get("/devices/small")["size_bytes"] == SIZE_BYTES, "not the size of then")
    roll_back(daemon, "large", "small-again")
    handle = daemon.nbd("small")
    expect(handle.get_size() == 4 * SIZE_BYTES, "not the size of before")
    handle.shutdown()


def defaults(daemon):
    """Without a body; and a request that is sent again with its key."""
    answer = daemon.request("POST", "/snapshot-groups/small/rollbacks", Idempotency_Key="k")
    expect(answer.status == 201 and answer.body["name"] == answer.body["id"], "%s", answer)
    again = daemon.request("POST", "/snapshot-groups/small/rollbacks", Idempotency_Key="k")
    expect(again.body == answer.body and again.headers["Idempotency-Replayed"] == "true", "%s", again)
    answer = daemon.request("POST", "/snapshot-groups/small/rollbacks", {"name": "x"}, Idempotency_Key="k")
    expect((answer.status, answer.body["code"]) == (422, "IdempotencyKeyReused"), "%s", answer)
    answer = daemon.request("POST", "/snapshot-groups/small/rollbacks", {"name": "x"}, Prefer="respond-async, wait=60")
    expect(answer.status == 201 and answer.headers["Preference-Applied"] == "wait=60", "%s", answer)


def test():
    with Daemon() as daemon:
        daemon.start_with(DISKS, SIZE_BYTES)
        fill(daemon, 1)
        first = daemon.snapshot("first", list(DISKS))
        fill(daemon, 2)
        daemon.snapshot("later", list(DISKS))
        fill(daemon, 3)
        there(daemon, first)
        listed(daemon)
        recorded(daemon, first)
        and_back(daemon)
        sizes(daemon)
        defaults(daemon)
        daemon.stop()
        for name in daemon.image_names():
            if name.endswith(".qcow2"):
                qcow2_check(daemon.image(name))


main(test)
