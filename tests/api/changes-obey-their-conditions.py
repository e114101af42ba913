#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# An ETag changes with everything that GET shows and with nothing else. If-None-Match with it is 304
# without a body; If-Match lets a PATCH or DELETE through only if nobody has changed the row,
# whatever its guests did; of many clients that each add a label, none loses another's. The 201 of
# a POST has the tag of the GET of what it made, also when it is repeated or built again.
import os
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main

PATCHED = {"labels": {"a": "1"}}


def tag_of(daemon, path):
    get, head = daemon.request("GET", path), daemon.request("HEAD", path)
    expect(get.status == 200 and get.headers["ETag"] == head.headers["ETag"], "%s: %s", path, head.headers)
    return get.headers["ETag"]


def check(daemon, method, path, headers, status, body=None):
    answer = daemon.request(method, path, body, **headers)
    expect(answer.status == status, "%s %s %s: %s", method, path, headers, answer)
    if status == 412:
        expect(answer.body["code"] == "PreconditionFailed" and not answer.body["retryable"], "%s", answer)
    if status == 304:
        expect(answer.body == "" and "Content-Type" not in answer.headers, "304: %s %s", answer, answer.headers)
    return answer


def reads(daemon, path):
    tag = tag_of(daemon, path)
    expect(tag_of(daemon, path) == tag, "%s: the tag changes by itself", path)
    for value in (tag, "W/" + tag, "*", '"x", %s' % tag, '"a,b" , W/"c",%s,"d"' % tag):
        for method in ("GET", "HEAD"):
            expect(check(daemon, method, path, {"If-None-Match": value}, 304).headers["ETag"] == tag, "304: the tag")
    for value in ('"x"', tag[1:-1], tag[:-1], '"x" %s"' % tag[:-1], ""):
        check(daemon, "GET", path, {"If-None-Match": value}, 200)
    check(daemon, "GET", path, {"If-Match": tag}, 200)
    check(daemon, "GET", path, {"If-Match": "*"}, 200)
    for value in ("W/" + tag, '"x"', ""):
        check(daemon, "GET", path, {"If-Match": value}, 412)


def updates(daemon, path):
    old = tag_of(daemon, path)
    new = check(daemon, "PATCH", path, {"If-Match": old}, 200, PATCHED).headers["ETag"]
    expect(new not in (old, None) and tag_of(daemon, path) == new, "%s: %s after %s", path, new, old)
    for value in (old, "W/" + new, '"x"', new[1:-1]):
        check(daemon, "PATCH", path, {"If-Match": value}, 412, {"labels": {"a": "2"}})
    check(daemon, "PATCH", path, {"If-None-Match": new}, 412, {"labels": {"a": "2"}})
    check(daemon, "PATCH", path, {"If-None-Match": "*"}, 412, {"labels": {"a": "2"}})
    expect(daemon.get(path)["labels"] == {**daemon.get(path)["labels"], "a": "1"}, "a refused patch was applied")
    check(daemon, "PATCH", path, {"If-Match": "*"}, 200, PATCHED)
    expect(tag_of(daemon, path) == new, "a patch that changes nothing changed the tag")
    check(daemon, "PATCH", path, {"If-Match": '"x", %s' % new, "If-None-Match": old}, 200, {"labels": {"a": "3"}})


def race(daemon, path):
    """Eight clients each add labels of their own by GET and PATCH, without a lock."""
    refused = []

    def add(number):
        for i in range(5):
            while True:
                got = daemon.request("GET", path)
                answer = daemon.request("PATCH", path, {"labels": {**got.body["labels"], "l%d.%d" % (number, i): "x"}},
                                        If_Match=got.headers["ETag"])
                if answer.status == 200:
                    break
                refused.append(answer.status)
    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    labels = daemon.get(path)["labels"]
    expect({"l%d.%d" % (number, i) for number in range(8) for i in range(5)} <= set(labels), "lost: %s", labels)
    expect(set(refused) <= {412}, "%s", refused)


def what_memory_knows(daemon):
    """A client that connects is seen in the tag, but makes no update fail."""
    path = "/devices/vda"
    before = tag_of(daemon, path)
    client = daemon.nbd("vda")
    client.pwrite(b"x" * 65536, 0)
    client.flush()
    expect(tag_of(daemon, path) != before, "clients are shown, but are not in the tag")
    check(daemon, "GET", path, {"If-None-Match": before}, 200)
    check(daemon, "PATCH", path, {"If-Match": before}, 200, {"labels": {"seen": "yes"}})
    client.shutdown()


def deletion(daemon):
    old = tag_of(daemon, "/devices/vdb")
    daemon.snapshot("g2", ["vdb"])  # its top is another one
    check(daemon, "DELETE", "/devices/vdb", {"If-Match": old}, 412)
    check(daemon, "DELETE", "/devices/vdb", {"If-Match": "*"}, 204)
    new = {"name": "vdb", "image": "new", "format": "raw", "size_bytes": 512}
    check(daemon, "POST", "/devices", {}, 201, new)
    check(daemon, "DELETE", "/devices/vdb", {"If-Match": old}, 412)  # another device of that name
    check(daemon, "DELETE", "/devices/vdb", {"If-Match": tag_of(daemon, "/devices/vdb")}, 204)
    check(daemon, "DELETE", "/devices/vdb", {"If-Match": "*"}, 404)
    old = tag_of(daemon, "/tokens/t")
    check(daemon, "DELETE", "/tokens/t", {"If-Match": old}, 204)
    check(daemon, "POST", "/tokens", {}, 201, {"name": "t", "scope": "read"})
    check(daemon, "DELETE", "/tokens/t", {"If-Match": old}, 412)  # another token of that name


MADE = (("/devices", {"name": "vdc", "image": "vdc", "format": "raw", "size_bytes": 512}, "vdc"),
        ("/snapshot-groups", {"name": "made", "devices": [{"device": "vda"}]}, None),
        ("/tokens", {"name": "t", "scope": "read"}, None))


def made(daemon, collection, body, name):
    """A key's answer is kept, and without it built again."""
    first = check(daemon, "POST", collection, {"Idempotency-Key": "k"}, 201, body)
    path = "%s/%s" % (collection, name or first.body["id"])
    tags = {first.headers["ETag"], tag_of(daemon, path)}
    tags.add(check(daemon, "POST", collection, {"Idempotency-Key": "k"}, 201, body).headers["ETag"])
    with daemon.stopped_database() as database:
        database.execute("UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL")
    again = check(daemon, "POST", collection, {"Idempotency-Key": "k"}, 201, body)
    expect(again.headers["Idempotency-Replayed"] == "true", "%s: not repeated", again)
    tags.add(again.headers["ETag"])
    expect(len(tags) == 1 and None not in tags, "%s: tags %s", path, tags)
    with daemon.stopped_database() as database:
        database.execute("DELETE FROM idempotency_keys")


def test():
    with Daemon() as daemon:
        daemon.start_with({"vda": "qcow2", "vdb": "raw"}, 1 << 20)
        daemon.snapshot("g", ["vda"])
        for collection, body, name in MADE:
            made(daemon, collection, body, name)
        for path in ("/devices/vda", "/snapshot-groups/g", "/tokens/t", "/devices", "/snapshot-groups", "/tokens",
                     "/events", "/version", "/limits", "/openapi.yaml"):
            reads(daemon, path)
        for path in ("/devices/vda", "/snapshot-groups/g"):
            updates(daemon, path)
            race(daemon, path)
            tag = tag_of(daemon, path)
            daemon.restart()
            expect(tag_of(daemon, path).rsplit("-", 1)[0] == tag.rsplit("-", 1)[0], "%s: a restart is a change", path)
        what_memory_knows(daemon)
        deletion(daemon)


main(test)
