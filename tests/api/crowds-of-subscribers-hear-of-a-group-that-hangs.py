#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Many subscribers get the events of a group together, after its answer: each of them every event,
# once and in order. They do not wait for the end of a group that hangs.
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from callers import connect_unix
from gates import Call, GatedDaemon
from snapgroupd import expect, group_body, main

CROWD = 100  # above 64 events are gathered
REQUEST = b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nLast-Event-ID: %d\r\n\r\n"


class Subscriber:
    def __init__(self, daemon, after):
        self.peer, self.text = connect_unix(daemon), b""
        self.peer.sendall(REQUEST % after)
        self.await_text(b"\r\n\r\n")

    def await_text(self, text):
        while text not in self.text:
            part = self.peer.recv(65536)
            expect(part, "the stream has ended after %s", self.text)
            self.text += part

    def ids(self):
        return [int(number) for number in re.findall(rb"^id: (\d+)\nevent: ", self.text, re.M)]


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        newest = daemon.get("/events")["items"][-1]["id"]
        crowd = [Subscriber(daemon, newest) for _ in range(CROWD)]
        daemon.close_gate("prepare")
        call = Call(daemon, "POST", "/snapshot-groups", group_body("monday", ["vda"]))
        daemon.await_gate("prepare")
        for one in crowd:
            one.await_text(b"event: group.preparing")
        daemon.open_gate("prepare")
        expect(call.answer().status == 201, "%s", call.result)
        daemon.snapshot("tuesday", ["vda"])
        last = daemon.get("/events")["items"][-1]["id"]
        for one in crowd:
            one.await_text(b"id: %d\nevent: group.committed" % last)
            expect(one.ids() == list(range(newest + 1, last + 1)), "events %s, not up to %d", one.ids(), last)
            one.peer.close()


main(test)
