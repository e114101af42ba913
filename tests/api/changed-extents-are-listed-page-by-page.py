#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""GET /snapshot-groups/{id}/members/{device}/extents: what has changed since another group, what is
allocated, zeros, longer and shorter disks, branches; pages of any size fit together, from any
offset, after a restart too, and have at most page_extents; every refusal has its code. The members
are in use meanwhile, and free afterwards."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, run  # noqa: E402

K, MIB = 1 << 10, 1 << 20
CLUSTER = 64 * K


def path(group, device="vda", **query):
    text = "&".join("%s=%s" % item for item in query.items())
    return "/snapshot-groups/%s/members/%s/extents%s" % (group, device, "?" + text if text else "")


def extents(daemon, group, device="vda", **query):
    """All pages' items as (offset, length, zero), and the last page."""
    found, page = [], daemon.get(path(group, device, **query))
    while True:
        expect(len(page["items"]) <= int(query.get("limit", 1000)), "a page of %d", len(page["items"]))
        found += [(item["offset_bytes"], item["length_bytes"], item["zero"]) for item in page["items"]]
        if page["next"] is None:
            return found, page
        page = daemon.get(path(group, device, **{**query, "cursor": page["next"]}))


def is_listed(daemon, wanted, group, since=None, **query):
    if since:
        query["since"] = since
    found, page = extents(daemon, group, **query)
    expect(found == wanted, "%s since %s is %s, not %s", group, since, found, wanted)
    return page


def take_groups(daemon):
    """g0: 1 MiB from 0. g1: one cluster at 4 MiB, one of zeros at 64 KiB. g2: nothing. g3: every
    other cluster from 8 MiB to 9 MiB."""
    daemon.create_device("vda", "qcow2", 16 * MIB, cluster_size_bytes=CLUSTER, extended_l2=False)
    handle = daemon.nbd("vda")
    handle.pwrite(b"a" * MIB, 0)
    daemon.snapshot("g0", ["vda"])
    handle.pwrite(b"b" * CLUSTER, 4 * MIB)
    handle.zero(CLUSTER, CLUSTER)
    daemon.snapshot("g1", ["vda"])
    daemon.snapshot("g2", ["vda"])
    for offset in range(8 * MIB, 9 * MIB, 2 * CLUSTER):
        handle.pwrite(b"c" * 512, offset)
    daemon.snapshot("g3", ["vda"])
    handle.pwrite(b"d", 0)
    handle.shutdown()


EVERY_OTHER = [(offset, CLUSTER, False) for offset in range(8 * MIB, 9 * MIB, 2 * CLUSTER)]
OF_G1 = [(CLUSTER, CLUSTER, True), (4 * MIB, CLUSTER, False)]


def check_lists(daemon):
    page = is_listed(daemon, OF_G1, "g1", "g0")
    expect(page["size_bytes"] == 16 * MIB and page["granularity_bytes"] == CLUSTER, "%s", page)
    is_listed(daemon, [], "g2", "g1")
    is_listed(daemon, [], "g1", "g1")
    is_listed(daemon, OF_G1 + EVERY_OTHER, "g3", "g0")
    is_listed(daemon, EVERY_OTHER, daemon.get("/snapshot-groups/g3")["id"], daemon.get("/snapshot-groups/g1")["id"])
    is_listed(daemon, [(0, MIB, False)], "g0")
    is_listed(daemon, [(0, CLUSTER, False), OF_G1[0], (2 * CLUSTER, MIB - 2 * CLUSTER, False), OF_G1[1]], "g2")
    # The other way round: what must be put back.
    is_listed(daemon, [(CLUSTER, CLUSTER, False), (4 * MIB, CLUSTER, True)], "g0", "g1")


def check_pages(daemon):
    wanted = OF_G1 + EVERY_OTHER
    for limit in (1, 2, 3, 7, 8, 9, 10, 11, 10000):
        is_listed(daemon, wanted, "g3", "g0", limit=limit)
    end = 8 * MIB + 7 * 2 * CLUSTER + CLUSTER
    for offset, whole in ((0, wanted), (CLUSTER, wanted), (8 * MIB, EVERY_OTHER), (16 * MIB, []), (end, []),
                          (4 * MIB + 512, [(4 * MIB + 512, CLUSTER - 512, False)] + EVERY_OTHER)):
        is_listed(daemon, whole, "g3", "g0", cursor=offset)
    many = 11000
    daemon.create_device("many", "qcow2", many * 8192, cluster_size_bytes=4096, extended_l2=False)
    daemon.snapshot("many0", ["many"])
    handle = daemon.nbd("many")
    for number in range(many):
        handle.pwrite(b"x", number * 8192)
    handle.shutdown()
    daemon.snapshot("many1", ["many"])
    most = daemon.get("/limits")["page_extents"]
    first = daemon.get(path("many1", "many", since="many0", limit=most))
    expect(len(first["items"]) == most == 10000 and first["next"] == str(most * 8192), "%s", first["next"])
    found, _ = extents(daemon, "many1", "many", since="many0")
    expect(found == [(number * 8192, 4096, False) for number in range(many)], "%d of many", len(found))


def check_refusals(daemon):
    daemon.request("POST", "/snapshot-groups", {"name": "failed", "devices": [
        {"device": "vda", "snapshot_file": "vda.qcow2"}]})
    aborted = daemon.get("/snapshot-groups?state=aborted")["items"][0]["id"]
    for status, code, target in (
            (404, "GroupNotFound", path("none")),
            (404, "GroupNotFound", path("g1", since="none")),
            (404, "DeviceNotFound", path("g1", "vdz")),
            (404, "DeviceNotFound", path("g1", "many")),
            (404, "DeviceNotFound", path("g1", since="many0")),
            (404, "DeviceNotFound", path(aborted)),
            (404, "DeviceNotFound", path("g1", since=aborted)),
            (422, "NotRelated", path("stranger", since="g1")),
            *((400, "InvalidParameter", path("g1", limit=limit)) for limit in ("0", "10001", "100000", "x", "-1", "")),
            *((400, "InvalidParameter", path("g1", cursor=cursor)) for cursor in ("", "x", "-1", "1x", "9" * 17, 16 * MIB + 1)),
            (400, "InvalidParameter", path("g1", after="0")),
            (400, "InvalidParameter", path("g1") + "?since=g0&since=g1")):
        answer = daemon.request("GET", target)
        expect(answer.status == status and answer.body["code"] == code, "GET %s: %s", target, answer)
    for method in ("POST", "DELETE"):
        answer = daemon.request(method, path("g1"), {} if method == "POST" else None)
        expect(answer.status == 405, "%s: %s", method, answer)
    page = daemon.request("GET", path("g1", since="g0"))
    again = daemon.request("GET", path("g1", since="g0"), If_None_Match=page.headers["ETag"])
    expect(again.status == 304, "%s", again)


def check_branches(daemon):
    """By hand: another overlay of the image of g1, of another size, becomes vda."""
    frozen = daemon.get("/snapshot-groups/g1")["members"][0]["backing_file"]
    for number, size in enumerate((16 * MIB, 20 * MIB, 6 * MIB)):
        expect(daemon.request("DELETE", "/devices/vda").status == 204, "it cannot be detached")
        image = "branch%d.qcow2" % number
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", frozen, "-F", "qcow2", daemon.image(image), str(size))
        daemon.attach_device("vda", image, "qcow2")
        handle = daemon.nbd("vda")
        handle.pwrite(b"e" * CLUSTER, 5 * MIB)
        handle.shutdown()
        daemon.snapshot("b%d" % number, ["vda"])
        own = [(5 * MIB, CLUSTER, False)]
        grown = [(16 * MIB, 4 * MIB, True)] if number == 1 else []
        is_listed(daemon, own + grown, "b%d" % number, "g1")
        is_listed(daemon, own + grown, "b%d" % number, "g2")
        is_listed(daemon, OF_G1 + own + grown, "b%d" % number, "g0")
        # What g3 has changed must be put back; it reads as zeros in the branch.
        back = [(offset, length, True) for offset, length, _ in EVERY_OTHER] if number < 2 else []
        is_listed(daemon, own + back + grown, "b%d" % number, "g3")
        # And the other way round, where all past the end of the smaller branch is new.
        forth = EVERY_OTHER if number < 2 else [(6 * MIB, 2 * MIB, True)] + [
            (8 * MIB + i * CLUSTER, CLUSTER, i % 2 == 1) for i in range(15)] + [(9 * MIB - CLUSTER, 7 * MIB + CLUSTER, True)]
        is_listed(daemon, [(5 * MIB, CLUSTER, True)] + forth, "g3", "b%d" % number)


def check_use(daemon):
    """Members are closed afterwards: the image can be opened for writing by somebody else."""
    image = daemon.get("/snapshot-groups/only")["members"][0]["backing_file"]
    extents(daemon, "only", "alone")
    expect(daemon.request("DELETE", "/devices/alone").status == 204, "it cannot be detached")
    extents(daemon, "only", "alone")
    run("qemu-io", "-f", "qcow2", "-c", "write -q 0 512", image)


def test():
    with Daemon() as daemon:
        daemon.start()
        take_groups(daemon)
        check_lists(daemon)
        check_pages(daemon)
        run("qemu-img", "create", "-q", "-f", "qcow2", daemon.image("stranger.qcow2"), "16M")
        expect(daemon.request("DELETE", "/devices/vda").status == 204, "it cannot be detached")
        daemon.attach_device("vda", "stranger.qcow2", "qcow2")
        daemon.snapshot("stranger", ["vda"])
        check_refusals(daemon)
        check_branches(daemon)
        daemon.create_device("alone", "qcow2", MIB)
        daemon.snapshot("only", ["alone"])
        check_use(daemon)
        daemon.restart()
        check_lists(daemon)


main(test)
