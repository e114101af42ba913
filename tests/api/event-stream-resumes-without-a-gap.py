#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# GET /events as text/event-stream: what has happened after Last-Event-ID, then what happens, each
# event once and in order, however often the client reconnects; filtered as the list is. A message
# `gap` tells of events that were deleted. A silent stream says that it lives, and where it is.
# Clients that read nothing hold up nobody, and none holds a stop.
import os
import resource
import select
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import DEADLINE_S, Daemon, Failure, expect, is_sanitized, main

SUBSCRIBERS, DEAF = 1000, 100
STOP_S = 8 if is_sanitized() else 5  # less than HTTP_STOP_S


class Stream:
    """A subscriber. `last`: the last id that it was told, as an EventSource keeps it."""

    def __init__(self, daemon, query="", last=None, deaf=False, more=""):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(os.path.join(daemon.runtime, "api.sock"))
        self.buffer, self.last = b"", last
        self.socket.sendall(("GET /events%s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n%s\r\n" % (
            query, ("" if last is None else "Last-Event-ID: %d\r\n" % last) + more)).encode())
        if not deaf:
            self.head = self.until(b"\r\n\r\n").decode()
            self.message()  # `retry`, and where the stream begins

    def until(self, end):
        while end not in self.buffer:
            part = self.socket.recv(65536)
            expect(part, "the stream has ended after %s", self.buffer)
            self.buffer += part
        text, self.buffer = self.buffer.split(end, 1)
        return text

    def message(self):
        """The fields of the next message, {} for a heartbeat."""
        fields = dict(line.split(": ", 1) for line in self.until(b"\n\n").decode().splitlines() if line != ":")
        self.last = int(fields["id"]) if "id" in fields else self.last
        return fields if "data" in fields else {}

    def events(self, count):
        found = []
        while len(found) < count:
            message = self.message()
            if message:
                found.append((int(message["id"]), message["event"]))
        return found

    def ends(self):
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        self.socket.close()
        return True


def listed(daemon, query=""):
    return [(event["id"], event["kind"]) for event in daemon.get("/events" + query)["items"]]


def flip(daemon, name="vdx"):
    """Two events."""
    answer = daemon.request("POST", "/devices", {"name": name, "image": "vda.raw", "format": "raw", "read_only": True})
    expect(answer.status == 201, "%s", answer)
    expect(daemon.request("DELETE", "/devices/" + name).status == 204, "detach")


def check_replay(daemon):
    whole, replay = Stream(daemon, "?after=0"), Stream(daemon)
    expect("200 OK" in whole.head and "text/event-stream" in whole.head and "Content-Length" not in whole.head,
           "%s", whole.head)
    expect(replay.last == listed(daemon)[-1][0], "a stream begins with the newest: %s", replay.last)
    flip(daemon)
    wanted = listed(daemon)
    expect(whole.events(len(wanted)) == wanted, "the whole feed")
    expect(replay.events(2) == wanted[-2:], "from now on")
    for stream in (whole, replay):
        stream.socket.close()


def check_every_change(daemon):
    """Each change reaches a stream, whatever it is of, before a heartbeat does."""
    stream = Stream(daemon)
    token = None
    for kind, method, path, body in (
            ("device.attached", "POST", "/devices", {"name": "vdy", "image": "vdy.raw", "format": "raw", "size_bytes": 4096}),
            ("device.updated", "PATCH", "/devices/vdy", {"labels": {"a": "b"}}),
            ("group.preparing", "POST", "/snapshot-groups", {"name": "every", "devices": [{"device": "vdy"}]}),
            ("group.updated", "PATCH", "/snapshot-groups/every", {"labels": {"a": "b"}}),
            ("token.created", "POST", "/tokens", {"name": "every", "scope": "read"}),
            ("token.revoked", "DELETE", "/tokens/{id}", None),
            ("device.detached", "DELETE", "/devices/vdy", None)):
        answer = daemon.request(method, path.format(id=token), body)
        expect(200 <= answer.status < 300, "%s %s: %s", method, path, answer)
        token = answer.body["id"] if kind == "token.created" else token
        message = stream.message()
        expect(message.get("event") == kind, "instead of %s came %s", kind, message or "a heartbeat")
        if kind == "group.preparing":
            expect(stream.message().get("event") == "group.committed", "group.committed")
    stream.socket.close()


def check_resume(daemon):
    """Reconnects before, after, and in the middle of the changes."""
    found, stream = [], Stream(daemon)
    begin = stream.last
    for i in range(30):
        flip(daemon)
        found += stream.events(i % 3)
        stream.socket.close()
        if i % 4 == 0:
            flip(daemon)
        if i == 15:
            daemon.restart()
        stream = Stream(daemon, last=stream.last)
    wanted = listed(daemon, "?after=%d&limit=1000" % begin)
    found += stream.events(len(wanted) - len(found))
    expect(found == wanted, "%s, not %s", found, wanted)
    stream.socket.close()


def check_filters(daemon):
    daemon.create_device("vdz", "raw", 1 << 20)
    stream = Stream(daemon, "?device=vdz")
    for name in ("z1", "z2"):
        daemon.snapshot(name, ["vdz"])
        expect([stream.message().get("event") for _ in range(2)] == ["group.preparing", "group.committed"], "its groups")
    stream.socket.close()
    for query in ("?device=vdy&after=0", "?kind=device.detached&after=0", "?after=0&kind=group.committed"):
        flip(daemon, "vdy")
        wanted = listed(daemon, query + "&limit=1000")
        stream = Stream(daemon, query)
        expect(stream.events(len(wanted)) == wanted, "%s", query)
        flip(daemon, "vdy")
        more = listed(daemon, query + "&limit=1000")[len(wanted):]
        expect(stream.events(len(more)) == more, "%s, live", query)
        stream.socket.close()
    for query, last, status in (("?limit=1", None, 400), ("?kind=x", None, 400), ("", "x", 400)):
        connection = daemon.connection()
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        connection.request("GET", "/events" + query, None, headers)
        expect(connection.getresponse().status == status, "%s", query)
        connection.close()


def check_heartbeat(daemon):
    stream = Stream(daemon, "?device=none")
    flip(daemon)
    expect(stream.message() == {} and stream.last == listed(daemon, "?limit=1000")[-1][0], "where it is: %s", stream.last)
    stream.socket.close()


def check_gap(daemon):
    with daemon.stopped_database() as database:
        database.execute("DELETE FROM events WHERE id <= 9")
    wanted = listed(daemon, "?limit=1000")
    for last, after in ((5, wanted), (9, wanted), (10, wanted[1:])):
        stream = Stream(daemon, last=last)
        expect(stream.events(len(after) + (last == 5)) == ([(9, "gap")] if last == 5 else []) + after,
               "after %d", last)
        stream.socket.close()
    stream = Stream(daemon, last=1000000)
    expect(stream.events(1) == [(wanted[0][0] - 1, "gap")], "an id of another database")
    stream.socket.close()


def check_slow(daemon):
    """One that stops to read is dropped, while another gets everything; then it resumes."""
    with daemon.stopped_database() as database:
        database.executemany("INSERT INTO events (at_us, kind, device, actor, detail) "
                             "VALUES (strftime('%s') * 1000000, 'device.failed', ?, 'test', '{}')",
                             (("d%d" % i,) for i in range(5000)))
    newest = listed(daemon, "?kind=recovery.done&limit=1000")[-1][0]
    slow, quick = Stream(daemon, "?after=9"), Stream(daemon, "?after=9")
    expect([at for at, _ in quick.events(newest - 9)] == list(range(10, newest + 1)), "the quick one")
    hangups = select.poll()
    hangups.register(slow.socket, select.POLLRDHUP)
    expect(hangups.poll(DEADLINE_S * 1000), "the slow one is dropped")
    found = []
    try:
        while True:
            found += slow.events(1)
    except (Failure, ConnectionResetError):
        pass
    expect(0 < len(found) < 5000, "the slow one got %d events", len(found))
    again = Stream(daemon, last=slow.last)
    found += again.events(newest - 9 - len(found))
    expect([at for at, _ in found] == list(range(10, newest + 1)), "the slow one has a gap")


def check_revoked(daemon):
    """The stream of a token that is revoked ends, and shows nothing that came after."""
    answer = daemon.request("POST", "/tokens", {"name": "reader", "scope": "read"})
    expect(answer.status == 201, "%s", answer)
    stream = Stream(daemon, more="Authorization: Bearer %s\r\n" % answer.body["secret"])
    flip(daemon)
    expect([kind for _, kind in stream.events(2)] == ["device.attached", "device.detached"], "before")
    expect(daemon.request("DELETE", "/tokens/reader").status == 204, "revoked")
    flip(daemon)
    try:
        expect(stream.events(1)[0][1] == "token.revoked" and not stream.events(1), "after")
    except Failure as failure:
        expect("the stream has ended" in str(failure), "%s", failure)


def check_many(daemon):
    """As many as the issue asks for, of whom some never read; a group does not notice."""
    streams = [Stream(daemon) for _ in range(SUBSCRIBERS - DEAF)]
    deaf = [Stream(daemon, "?after=0", deaf=True) for _ in range(DEAF)]
    began = time.monotonic()
    daemon.snapshot("many", ["vda"])
    took = time.monotonic() - began
    for stream in streams:
        expect([kind for _, kind in stream.events(2)] == ["group.preparing", "group.committed"], "each gets both")
    began = time.monotonic()
    daemon.stop()
    expect(time.monotonic() - began < STOP_S, "the stop took %.1f s", time.monotonic() - began)
    expect(all(stream.ends() for stream in streams + deaf), "streams end")
    print("a group with %d subscribers took %.0f ms" % (SUBSCRIBERS, took * 1000))
    daemon.start()


def test():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        expect(daemon.request("DELETE", "/devices/vda").status == 204, "detach")
        check_replay(daemon)
        check_every_change(daemon)
        check_resume(daemon)
        check_filters(daemon)
        check_heartbeat(daemon)
        check_gap(daemon)
        check_slow(daemon)
        check_revoked(daemon)
        daemon.attach_device("vda", "vda.raw", "raw")
        check_many(daemon)


main(test)
