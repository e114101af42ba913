#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# timeout: 1800
"""What has changed since an older group is read over NBD as a dirty bitmap, by programs that know
nothing of groups: from the older state and the dirty ranges the newer one is rebuilt to the byte,
for every pair of groups of random disks, which were rolled back now and then, by nbdinfo --map and
by qemu-img map with x-dirty-bitmap (where "data": false means dirty). REST lists the same ranges.
The context is listed and selected by the group's name and by its id, one at most in a connection,
and there is none for newer groups, other devices and live disks.
"""
import json
import os
import random
import sys

import nbd

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, is_sanitized, main, run, wait_until  # noqa: E402

PREFIX = "qemu:dirty-bitmap:"
DISKS = 3 if is_sanitized() else 12
GROUPS = 8
SEED = int(os.environ.get("SEED", "1"))


def change(handle, place, size_bytes):
    """A few random writes, zeroes and discards."""
    for _ in range(place.randrange(1, 12)):
        offset = place.randrange(size_bytes) // 512 * 512
        length = min(place.choice((512, 4096, 65536, 300 * 512)) * place.randrange(1, 4), size_bytes - offset)
        what = place.randrange(6)
        if what == 0:
            handle.zero(length, offset)
        elif what == 1:
            handle.trim(length, offset)
        else:
            handle.pwrite(place.randbytes(length), offset)


def content_of(daemon, name, group):
    frozen = daemon.nbd("%s@%s" % (name, group["name"]))
    content = frozen.pread(frozen.get_size(), 0)
    frozen.shutdown()
    return group["name"], group["id"], content


def roll_back(daemon, name, group):
    """To that group. Returns the group that keeps what the disk had."""
    answer = daemon.request("POST", "/snapshot-groups/%s/rollbacks" % group, {})
    expect(answer.status == 201, "rollback of %s to %s: %s", name, group, answer)
    return content_of(daemon, name, answer.body)


def make_disk(daemon, name, place):
    """A disk in GROUPS groups and more, of rollbacks. Returns them, oldest first: (name, id,
    content)."""
    size_bytes = place.randrange(2 << 20, 6 << 20) // 512 * 512
    cluster = 4096 << place.randrange(6)
    image_format = place.choice(("raw", "qcow2"))
    daemon.create_device(name, image_format, size_bytes, cluster_size_bytes=cluster,
                         extended_l2=cluster >= 16384 and place.random() < 0.7)
    groups = []
    handle = daemon.nbd(name)
    for number in range(GROUPS):
        change(handle, place, size_bytes)
        groups.append(content_of(daemon, name, daemon.snapshot("%s-g%d" % (name, number), [name])))
        if place.random() < 0.3:
            change(handle, place, size_bytes)
            handle.shutdown()
            wait_until(lambda: daemon.get("/devices/" + name)["clients"] == 0, "the client to be gone")
            groups.append(roll_back(daemon, name, place.choice(groups)[0]))
            handle = daemon.nbd(name)
    handle.shutdown()
    return groups


def ranges_of_nbdinfo(daemon, export, context):
    items = json.loads(run("nbdinfo", "--map=" + context, "--json", daemon.nbd_uri(export)))
    expect(all(item["description"] == ("dirty" if item["type"] else "clean") for item in items), "%s", items)
    return [(item["offset"], item["length"], item["type"]) for item in items]


def ranges_of_qemu(daemon, export, context):
    image = {"driver": "raw", "file": {
        "driver": "nbd", "export": export, "x-dirty-bitmap": context,
        "server": {"type": "unix", "path": os.path.join(daemon.runtime, "nbd.sock")}}}
    items = json.loads(run("qemu-img", "map", "--output=json", "json:" + json.dumps(image)))
    return [(item["start"], item["length"], not item["data"]) for item in items]


def dirty_of_rest(daemon, newer, device, older, place, content):
    """The dirty ranges as REST lists them, page by page; what is told to be zeros is."""
    found, cursor = [], "0"
    while cursor is not None:
        page = daemon.get("/snapshot-groups/%s/members/%s/extents?since=%s&limit=%d&cursor=%s" % (
            newer, device, older, place.choice((1, 7, 10000)), cursor))
        for item in page["items"]:
            offset, length = item["offset_bytes"], item["length_bytes"]
            expect(not item["zero"] or not any(content[offset:offset + length]), "%s is not zero", item)
            if found and sum(found[-1]) == offset:
                offset, length = found[-1][0], length + found.pop()[1]
            found.append((offset, length))
        expect(page["size_bytes"] == len(content), "%s", page)
        cursor = page["next"]
    return found


def rebuild(older, newer, ranges):
    """The older content with the dirty ranges of the newer; they must cover all of it."""
    content, end = bytearray(older), 0
    for offset, length, is_dirty in ranges:
        expect(offset == end, "a range begins at %d, not at %d", offset, end)
        end = offset + length
        if is_dirty:
            content[offset:end] = newer[offset:end]
    expect(end == len(newer), "the ranges end at %d, the disk at %d", end, len(newer))
    return bytes(content)


def check_disk(daemon, name, groups, place):
    pairs = [(i, j) for i in range(len(groups)) for j in range(i)]
    for newer, older in pairs:
        export = "%s@%s" % (name, groups[newer][place.randrange(2)])
        context = PREFIX + groups[older][place.randrange(2)]
        ranges = ranges_of_nbdinfo(daemon, export, context)
        expect(rebuild(groups[older][2], groups[newer][2], ranges) == groups[newer][2],
               "nbdinfo: %s since %s is not rebuilt", export, context)
        listed = dirty_of_rest(daemon, groups[newer][place.randrange(2)], name, groups[older][place.randrange(2)], place,
                               groups[newer][2])
        expect(listed == [(offset, length) for offset, length, is_dirty in ranges if is_dirty],
               "REST lists %s, NBD %s", listed, ranges)
        if newer - older < 3:
            ranges = ranges_of_qemu(daemon, export, context)
            expect(rebuild(groups[older][2], groups[newer][2], ranges) == groups[newer][2],
                   "qemu-img: %s since %s is not rebuilt", export, context)
    return len(pairs)


# ---- contexts ----

def negotiate(daemon, queries=()):
    handle = nbd.NBD()
    handle.set_opt_mode(True)
    handle.connect_uri(daemon.nbd_uri(""))
    for query in queries:
        handle.add_meta_context(query)
    return handle


def listed(daemon, export, *queries):
    found = []
    handle = negotiate(daemon, queries)
    handle.set_export_name(export)
    handle.opt_list_meta_context(lambda name: found.append(name) and 0)
    handle.opt_abort()
    return found


def selected(daemon, export, *queries):
    handle = negotiate(daemon, queries)
    handle.set_export_name(export)
    handle.opt_go()
    found = [query for query in queries if handle.can_meta_context(query)]
    handle.shutdown()
    return found


def check_contexts(daemon, name, groups):
    names, ids = [group[0] for group in groups], [group[1] for group in groups]
    newest = "%s@%s" % (name, names[3])
    older = [PREFIX + group for group in reversed(names[:3])]
    plain = ["base:allocation", "qemu:allocation-depth"]
    for export in (newest, "%s@%s" % (name, ids[3])):
        expect(listed(daemon, export) == plain + older, "all are %s", listed(daemon, export))
        expect(listed(daemon, export, "qemu:") == plain[1:] + older, "of qemu: %s", listed(daemon, export, "qemu:"))
        expect(listed(daemon, export, PREFIX) == older, "of %s: %s", PREFIX, listed(daemon, export, PREFIX))
    expect(listed(daemon, newest, PREFIX + ids[1]) == [PREFIX + ids[1]], "it is not listed by its id")
    expect(listed(daemon, "%s@%s" % (name, names[0]), PREFIX) == [], "the oldest group has older ones")
    expect(listed(daemon, name) == plain, "a live disk has bitmaps")

    for group in (names[0], ids[0]):
        expect(selected(daemon, newest, PREFIX + group) == [PREFIX + group], "%s is not selected", group)
    expect(selected(daemon, newest, *older, *plain) == older[:1] + plain, "not the first one, or more than one")
    for group in (names[3], names[4], ids[5], "none", "x" * 200, "vda-g0"):
        expect(selected(daemon, newest, PREFIX + group, "base:allocation") == ["base:allocation"],
               "%s is no older group of %s", group, newest)
    expect(selected(daemon, name, PREFIX + names[0]) == [], "a live disk has one")


def check_unrelated(daemon):
    """A disk of the same name that is attached later is another one."""
    daemon.create_device("again", "qcow2", 1 << 20)
    daemon.snapshot("before", ["again"])
    expect(daemon.request("DELETE", "/devices/again").status == 204, "it cannot be detached")
    run("qemu-img", "create", "-q", "-f", "qcow2", daemon.image("other.qcow2"), "1M")
    daemon.attach_device("again", "other.qcow2", "qcow2")
    daemon.snapshot("after", ["again"])
    expect(listed(daemon, "again@after", PREFIX) == [], "another disk has older groups")
    expect(selected(daemon, "again@after", PREFIX + "before") == [], "another disk's group is selected")


def check_many(daemon):
    """Hundreds of groups are listed, and survive a restart in their order."""
    daemon.create_device("many", "qcow2", 1 << 20)
    count = 60 if is_sanitized() else 200
    for number in range(count):
        daemon.snapshot("a-group-with-a-name-that-is-long-%s-%d" % ("x" * 80, number), ["many"])
    newest = "many@" + daemon.get("/snapshot-groups?device=many&limit=1")["items"][0]["name"]
    before = listed(daemon, newest, PREFIX)
    expect(len(before) == count - 1, "%d are listed", len(before))
    daemon.restart()
    expect(listed(daemon, newest, PREFIX) == before, "the list is another one after a restart")


def test():
    print("SEED=%d" % SEED)
    with Daemon() as daemon:
        daemon.start()
        pairs = 0
        for number in range(DISKS):
            name = "vd%c" % (ord("a") + number)
            place = random.Random(SEED * 1000 + number)
            groups = make_disk(daemon, name, place)
            pairs += check_disk(daemon, name, groups, place)
            if number == 1:
                check_contexts(daemon, name, groups)
        print("%d pairs" % pairs)
        check_unrelated(daemon)
        check_many(daemon)


main(test)
