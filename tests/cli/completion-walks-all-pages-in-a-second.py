#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Completion offers the names of all pages of a list. A list without an end, and a daemon that does
# not answer after some pages, end it within its second, whatever timeout is set: what came so far
# is offered.
import json
import os
import sys
import threading
from urllib.parse import parse_qs, urlsplit

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from ctl import FakeServer, ctl, reply
from snapgroupd import expect, main, wait_until

PAGES = 5
PAGE_ITEMS = 100


def item(number):
    name = "n%05d" % number
    return {"name": name, "id": name, "members": [{"device": "vda"}, {"device": "vdb"}]}


class Lists:
    """Serves lists of so many pages; None: without an end. The page `mute` does not come."""

    def __init__(self, pages, mute=None):
        self.pages, self.mute, self.over = pages, mute, threading.Event()

    def __call__(self, request):
        url = urlsplit(request[1])
        query = parse_qs(url.query)
        expect(query["limit"] == ["1000"], "asked for %s", request[1])
        expect(("snapshot-groups" in url.path) == ("state" in query), "asked for %s", request[1])
        page = int(query.get("cursor", ["at 0"])[0][3:])
        if page == self.mute:
            self.over.wait()
        items = [item(page * PAGE_ITEMS + i) for i in range(PAGE_ITEMS)]
        return reply(200, json.dumps({"items": items, "next": "at %d" % (page + 1) if page + 1 != self.pages else None}))


def complete(lists, *words, **more):
    lists.over.clear()
    with FakeServer(lists) as server:
        try:
            done = ctl(server.path, "__complete", "--", "--socket", server.path, *words, **more)
        finally:
            lists.over.set()
        expect(done.status == 0 and not done.errors, "%s: %s", words, done)
        return done.output.decode().split()


def expect_complete(words, expected, **more):
    """All that is offered is right, and, once the machine has a second for it, all is offered."""
    def is_complete():
        offered = complete(Lists(PAGES), *words, **more)
        expect(offered == expected[:len(offered)], "%s: %s is offered", words, [word for word in offered if word not in expected])
        return len(offered) == len(expected)
    wait_until(is_complete, "all is offered of %s" % (words,))


def test():
    names = ["n%05d" % i for i in range(PAGES * PAGE_ITEMS)]
    members = ["%s@%s" % (device, name) for name in names for device in ("vda", "vdb")]
    for words in (("device", "show"), ("group", "show"), ("job", "show"), ("token", "revoke")):
        expect_complete((*words, ""), names)
    expect_complete(("device", "clone", ""), members)
    expect_complete(("attach", ""), names + members)
    expect_complete(("device", "show", names[-10][:-1]), names[-10:])

    # These would go on for longer than ctl() lets anything run.
    for lists, least in ((Lists(None), PAGE_ITEMS), (Lists(None, mute=2), 2 * PAGE_ITEMS)):
        wait_until(lambda: len(complete(lists, "group", "show", "", SNAPGROUPCTL_TIMEOUT="1000")) >= least, "some are offered")
    expect(complete(Lists(None, mute=0), "--timeout", "1000", "attach", "") == [], "something is offered")


main(test)
