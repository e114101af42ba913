#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Devices, which are kept as text, are as the files, the groups and this test's own record say,
after every change: attach, clone, detach, resize, group, its deletion, client, write, failure. The
list agrees with GET of each device; also page by page, and while others list and change."""
import os
import random
import struct
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, run, wait_until

SEED = int(os.environ.get("SEED", "20"))
STEPS = 60


def each(daemon, names):
    return [daemon.get("/devices/" + name) for name in sorted(names)]


def chain_of(top):
    """The images of a chain, by the headers of the files."""
    chain = [top]
    while True:
        with open(chain[-1], "rb") as file:
            magic, _, at, length = struct.unpack(">4sIQI", file.read(20))
            if magic != b"QFI\xfb" or at == 0:
                return chain
            file.seek(at)
            chain.append(os.path.join(os.path.dirname(chain[-1]), file.read(length).decode()))


def keeping(path, chain, keepers):
    """The groups that froze the image, or one that stands on it on another branch."""
    groups = set(keepers.get(path, []))
    for image, names in keepers.items():
        branch = chain_of(image)
        if path in branch[1:] and branch[branch.index(path) - 1] not in chain:
            groups |= set(names)
    return groups


def expect_true(device, size, clients, keepers, step):
    """That what a GET says of the device is so; `keepers`: groups by the images that they froze."""
    chain = device["chain"]
    paths = [image["image"] for image in chain]
    expect(paths == chain_of(device["top"]), "%s: the chain of %s", step, device)
    expect(device["size_bytes"] == chain[0]["size_bytes"] == size, "%s: the size %d of %s", step, size, device)
    expect(device["clients"] == (device["name"] in clients), "%s: the clients of %s", step, device)
    for image in chain:
        expect(image["allocated_bytes"] == os.stat(image["image"]).st_blocks * 512, "%s: allocated of %s", step, device)
        groups = [keeper[6:] for keeper in image["kept_for"] if keeper.startswith("group ")]
        expect(sorted(groups) == sorted(keeping(image["image"], paths, keepers)), "%s: groups of %s", step, device)


def expect_agreement(daemon, names, clients, step):
    """The second and third list of an unchanged catalogue come from texts that were kept."""
    wait_until(lambda: sum(device["clients"] for device in each(daemon, names)) == len(clients), "hang-ups are noticed")
    keepers = {}
    for group in daemon.get("/snapshot-groups?state=committed")["items"]:
        for member in daemon.get("/snapshot-groups/" + group["id"])["members"]:
            keepers.setdefault(member["backing_file"], []).append(group["name"])
    wanted = each(daemon, names)
    for device in wanted:
        expect_true(device, names[device["name"]], clients, keepers, step)
    for _ in range(3):
        found = daemon.get("/devices")
        expect(found == {"items": wanted, "next": None}, "%s: %s instead of %s", step, found, wanted)
    pages, cursor = [], ""
    while cursor is not None:
        page = daemon.get("/devices?limit=3" + cursor)
        pages += page["items"]
        cursor = page["next"] and "&cursor=" + page["next"]
    expect(pages == wanted, "%s: page by page %s", step, pages)
    for name in names:
        found = daemon.get("/devices?name=" + name)["items"]
        expect(found == [item for item in wanted if item["name"] == name], "%s: %s is %s", step, name, found)


def change(daemon, names, clients, number):
    """Makes one change and says which."""
    groups = [group["name"] for group in daemon.get("/snapshot-groups?state=committed")["items"]]
    kinds = ["attach"] + (["detach", "group", "resize", "connect", "write"] if names else [])
    kinds += (["disconnect"] if clients else []) + (["clone", "delete"] if groups else [])
    kind = random.choice(kinds)
    name = random.choice(sorted(names)) if names else None
    if kind == "attach":
        name = "vd%d" % number
        daemon.create_device(name, random.choice(("raw", "qcow2")), 1 << 20)
        names[name] = 1 << 20
    elif kind == "detach":
        clients.pop(name, None)
        while daemon.request("DELETE", "/devices/" + name).status != 204:
            pass  # the client's connection is being closed
        del names[name]
    elif kind == "group":
        daemon.snapshot("g%d" % number, sorted(names))
    elif kind == "resize":
        names[name] = (2 << 20) + 512 * number
        answer = daemon.request("PATCH", "/devices/" + name, {"size_bytes": names[name]})
        expect(answer.status == 200, "%s", answer)
    elif kind == "clone":
        group = random.choice(groups)
        device = random.choice(daemon.get("/snapshot-groups/" + group)["members"])["device"]
        name = "clone%d" % number
        answer = daemon.request("POST", "/devices", {"name": name, "from": {"group": group, "device": device}})
        expect(answer.status == 201, "%s", answer)
        names[name] = answer.body["size_bytes"]
    elif kind == "delete":
        group = random.choice(groups)
        answer = daemon.request("DELETE", "/snapshot-groups/" + group)
        expect(answer.status == 202, "%s", answer)
        wait_until(lambda: daemon.get(answer.headers["Location"])["state"] == "done", "the job")
    elif kind == "connect":
        clients[name] = daemon.nbd(name)
    elif kind == "disconnect":
        clients.pop(sorted(clients)[0]).shutdown()
    else:
        handle = clients.get(name) or daemon.nbd(name)
        handle.pwrite(os.urandom(4096), 4096 * random.randrange(256))
        handle.flush()
    return "%d %s %s" % (number, kind, name)


def race(daemon):
    """Lists while devices come and go: each page is whole, in order, and has those that stay."""
    ended = threading.Event()
    failures = []

    def read():
        try:
            while not ended.is_set():
                names = [item["name"] for item in daemon.get("/devices")["items"]]
                expect(names == sorted(set(names)), "order: %s", names)
                expect({"stay1", "stay2"} <= set(names), "those that stay: %s", names)
        except Exception as failure:  # noqa: the main thread raises it
            failures.append(failure)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for name in ("stay1", "stay2"):
        daemon.create_device(name, "raw", 1 << 20)
    for reader in readers:
        reader.start()
    for i in range(40):
        daemon.create_device("s%d" % i, "raw", 1 << 20)
        listed = [item["name"] for item in daemon.get("/devices")["items"]]
        expect("s%d" % i in listed, "a new device is not listed: %s", listed)
        expect(daemon.get("/devices/s%d" % i)["labels"] == {}, "a new device has no labels")
        changed = daemon.request("PATCH", "/devices/s%d" % i, {"labels": {"round": str(i)}})
        seen = daemon.request("GET", "/devices/s%d" % i)
        expect(seen.body == changed.body and seen.body["labels"] == {"round": str(i)}, "PATCH: %s, GET: %s", changed, seen)
        expect(seen.headers["ETag"] == changed.headers["ETag"], "PATCH: %s, GET: %s", changed, seen)
        expect(daemon.request("DELETE", "/devices/s%d" % i).status == 204, "DELETE")
        expect(daemon.request("GET", "/devices/s%d" % i).status == 404, "a detached device is shown")
        listed = [item["name"] for item in daemon.get("/devices")["items"]]
        expect("s%d" % i not in listed, "a detached device is listed")
    ended.set()
    for reader in readers:
        reader.join()
    expect(not failures, "%s", failures and failures[0])


def test():
    random.seed(SEED)
    with Daemon() as daemon:
        daemon.start()
        names, clients = {}, {}  # names: with the size of each
        expect_agreement(daemon, names, clients, "empty")
        for number in range(STEPS):
            step = change(daemon, names, clients, number)
            expect_agreement(daemon, names, clients, step)
        clients.clear()
        race(daemon)
        run("truncate", "-s", "1M", daemon.image("junk"))
        daemon.attach_device("away", "junk", "raw")
        daemon.stop()
        os.unlink(daemon.image("junk"))
        daemon.start()
        items = {item["name"]: item for item in daemon.get("/devices")["items"]}
        expect(items["away"]["state"] == "failed" and items["away"] == daemon.get("/devices/away"), "%s", items["away"])


main(test)
