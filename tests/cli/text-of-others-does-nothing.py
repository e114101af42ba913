#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: one-thread
#
# Names, labels, reasons, problems and events with control characters, escape sequences, bidi
# controls, bytes that are no UTF-8, and 64 KiB of text: no form of output for people writes a byte
# that a terminal obeys, nor JSON to a terminal; JSON to a pipe is as it came. Replies that are no
# JSON, or JSON of other types, of any depth or length, end a command with a message; it reads no
# byte that is not its own (asan). Columns are aligned by what a terminal shows.
import json
import os
import pty
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from ctl import SNAPGROUPCTL, FakeServer, ctl, environment, reply
from snapgroupd import SANITIZER_REPORT, expect, main

EVIL = "a\x1b]0;title\x07\x1b[2J\r\n\t\x9b31m\u202eexe.\u2066\u200b\ufeff\U000e0041<b>'\"`$(id)\\"
# What a terminal might obey, or show in another order: C0 but newline, C1, bidi, invisible.
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e0fff]")
LONG = "é\x1b" * (21 << 10)

DEVICE = {"name": EVIL, "state": EVIL, "size_bytes": 1 << 20, "format": EVIL, "chain": [{"image": EVIL}], "clients": 1, "top": EVIL,
          "export": {"uri": EVIL}, "origin": {"how": EVIL}, "reason": LONG, "created_at": EVIL, "read_only": True,
          "labels": {EVIL: EVIL, "long": LONG}}
GROUP = {"id": EVIL, "name": EVIL, "kind": EVIL, "state": "committed", "members": [{"device": EVIL, "ready_to_use": True}], "holds": [EVIL],
         "created_at": EVIL, "labels": {EVIL: EVIL}, "error": {"detail": EVIL}, "rolled_back_to": None}
JOB = {"id": EVIL, "kind": EVIL, "state": "done", "progress": {"done_bytes": -1e300, "total_bytes": 1e300}, "error": {"detail": EVIL}}
TOKEN = {"id": EVIL, "name": EVIL, "scope": EVIL, "secret": EVIL, "created_at": EVIL, "expires_at": EVIL}
EVENT = {"id": 5, "at": EVIL, "kind": EVIL, "device": EVIL, "actor": EVIL, "detail": {"name": EVIL, "message": EVIL}}
PROBLEM = {"detail": EVIL, "code": EVIL, "request_id": EVIL, "retryable": False, "status": 400}

COMMANDS = {"device list": DEVICE, "device show x": DEVICE, "device create x --size 1": DEVICE, "device update x --label a=b": DEVICE,
            "group list": GROUP, "group show x": GROUP, "group take x y": GROUP, "group hold x y": GROUP, "group delete x": JOB,
            "group extents x y": {"offset_bytes": EVIL, "length_bytes": 1e300, "zero": EVIL}, "job list": JOB, "job show x": JOB,
            "job watch x": JOB, "job pause x": JOB, "token list": TOKEN, "token show x": TOKEN, "token create x --scope read": TOKEN,
            "events": EVENT, "status": {"version": EVIL, "status": EVIL, "items": [DEVICE], "next": None}, "attach x --as qemu": DEVICE}


def expect_harmless(text, what):
    text = text.decode("utf-8", errors="strict")
    found = OBEYED.search(text)
    expect(not found, "%s writes %r: %r", what, found and found.group(), text[max(0, found.start() - 40):][:80] if found else "")


def on_terminal(path, words):
    """The output of a command on a terminal, which adds the CR of newlines."""
    leader, follower = pty.openpty()
    with subprocess.Popen([SNAPGROUPCTL, "--socket", path, *words], stdin=subprocess.DEVNULL, stdout=follower, stderr=subprocess.PIPE,
                          env=environment()) as process:
        os.close(follower)
        text = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            text += part
            if not part:
                break
        errors = process.stderr.read()
    os.close(leader)
    expect(not SANITIZER_REPORT.search(errors.decode(errors="replace")), "%s", errors)
    return text.replace(b"\r\n", b"\n")


def shown():
    for line, body in COMMANDS.items():
        is_list = line.endswith(" list") or line in ("events", "group extents x y")
        text = json.dumps({"items": [body, body], "next": None} if is_list else body, ensure_ascii=False)
        with FakeServer(lambda request, text=text: reply(200, text)) as server:
            for output in ("table", "wide", "name", "json"):
                done = ctl(server.path, *line.split(), "-o", output)
                expect_harmless(done.errors, line)
                if output != "json":
                    expect_harmless(done.output, "%s as %s" % (line, output))
                elif done.status == 0 and line != "status":
                    expect(done.output.decode() == text + "\n" or line.startswith("attach"), "%s: JSON is not as it came", line)
            said = on_terminal(server.path, [*line.split(), "-o", "json"])
            if said and not line.startswith("attach"):
                expect_harmless(said, line + " on a terminal")
                expect(json.loads(said) == json.loads(text) or line == "status", "%s: other JSON on a terminal", line)
            done = ctl(server.path, "__complete", "--", *line.split(), "")
            expect_harmless(done.output, "completion")
            expect("\x1b" not in done.output.decode() and "$" not in done.output.decode(), "completion offers %r", done.output)
    problem = reply(400, json.dumps(PROBLEM, ensure_ascii=False), "application/problem+json")
    with FakeServer(lambda request: problem) as server:
        for output in ("table", "json"):
            done = ctl(server.path, "device", "list", "-o", output)
            expect(done.status == 1 and not done.output, "%s", done)
            expect_harmless(done.errors, "a problem")
        done = ctl(server.path, "device", "list", LC_ALL="C")
        expect(done.errors.isascii(), "in the C locale: %r", done.errors)


def streamed():
    event = json.dumps(EVENT, ensure_ascii=False)
    text = "retry: 1000\nid: 4\n\nevent: gap\nid: 4\ndata: {}\n\nid: 5\nevent: x\ndata: %s\n\n" % event
    for extra in ("", "id: \x1b\x1b" + "x" * 100 + "\n\n", "data: nothing\n\n", "data: " + "x" * (5 << 20)):
        with FakeServer(lambda request, extra=extra: reply(200, text + extra, "text/event-stream")) as server:
            for output in ("table", "json", "name"):
                done = ctl(server.path, "events", "--follow", "--limit", "2", "--timeout", "1", "-o", output)
                expect(done.output, "%s", done)
                expect_harmless(done.errors, "events")
                if output != "json":
                    expect_harmless(done.output, "events")


def broken():
    deep = "[" * 100000
    bodies = [b"", b"\0", b"{", b"[]", b"null", b"1e999", b'"x"', b"{}", b'{"items":{}}', b'{"items":[1,null,"x",[]],"next":5}',
              b'{"items":[{}],"next":"same"}', b'{"next":null,"items":[]}', b'{"items":[],"next":{}}', b"\xff\xfe\x80" * 50,
              b'{"id":[],"state":{},"members":1,"progress":"x"}', b'{"name":"a\\u0000b"}', deep.encode(), b'{"a":' * 3000,
              json.dumps({"items": [{"labels": {"x" * 70000: 1}}], "next": None}).encode(), b'{"items":[' + b"{}," * 20000 + b"{}]}"]
    for i, body in enumerate(bodies):
        for status in (200, 404, 503) if i < 2 else (200, 404):  # a 503 is waited for
            with FakeServer(lambda request, body=body, status=status: reply(status, body)) as server:
                lines = ("device list -o json", "device list", "device show x", "group delete x", "group take x y", "status",
                         "attach x --as fio", "token create x --scope read", "__complete -- group rollback x", "api GET /")
                for line in lines if status == 200 else lines[:2]:
                    done = ctl(server.path, *line.split(), "--timeout", "0.2")
                    expect(0 <= done.status <= 5, "%s of %r: %s", line, body[:40], done)
                    expect(line.startswith("__c") or status == 200 or done.status != 0, "%s of %d: %s", line, status, done)
                    expect(done.output == b"" or b"api" in line.encode() or status == 200, "%s of %d: %s", line, status, done)
    with FakeServer(lambda request: b"SSH-2.0-x\r\n") as server:
        expect(ctl(server.path, "status", "--timeout", "0.5").status == 5, "another protocol")


def aligned():
    names = ["short", "日本語", "ü" * 7, "e\u0301" * 5, "\u202ex"]
    items = [{"name": name, "state": "online"} for name in names]
    with FakeServer(lambda request: reply(200, json.dumps({"items": items, "next": None}))) as server:
        lines = ctl(server.path, "device", "list").output.decode().splitlines()
        # Of NAME and the names: wide characters count twice, combining ones not at all.
        widths = [4, 5, 6, 7, 5, 9]
        for line, width in zip(lines, widths):
            name = re.match(r"\S+", line).group()
            gap = len(line) - len(line[len(name):].lstrip()) - len(name)
            expect(width + gap == 11, "columns are not aligned: %r", line)


def paged():
    def answer(request):
        at = int((re.search(r"cursor=(\d+)", request[1]) or [0, "0"])[1])
        limit = int(re.search(r"limit=(\d+)", request[1])[1])
        items = ['{"name":"d%d","size_bytes":9007199254740993,"x":1.50}' % i for i in range(at, min(at + min(limit, 7), 20))]
        end = at + len(items)
        return reply(200, '{"a":"]}\\"","items":[%s],"more":[{}],"next":%s}' % (",".join(items), '"%d"' % end if end < 20 else "null"))

    with FakeServer(answer) as server:
        done = ctl(server.path, "device", "list", "--label", "a b=&c", "-o", "json")
        body = json.loads(done.output)
        expect([item["name"] for item in body["items"]] == ["d%d" % i for i in range(20)] and body["next"] is None, "%s", done)
        expect(body["a"] == ']}"' and body["more"] == [{}] and done.output.count(b"9007199254740993,\"x\":1.50") == 20, "%s", done)
        expect(len(server.requests) == 3 and all("label=a%20b%3D%26c" in request[1] for request in server.requests), "%s", server.requests)
        expect(ctl(server.path, "device", "list", "--limit", "9", "-o", "name").output.split() == [b"d%d" % i for i in range(9)], "limit")
        expect(len(ctl(server.path, "device", "list").output.splitlines()) == 21, "a table of pages has one head")


def test():
    shown()
    streamed()
    broken()
    aligned()
    paged()


main(test)
