#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A request whose framing is wrong or ambiguous (RFC 9112) gets one problem with its status and
# code, then the connection is closed: no byte after it becomes a second request. The same on a
# connection that has served a valid request. Unusual but valid requests are served, and the
# connection stays open. All of it over a Unix socket, and over TLS.
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from callers import connect_tls, connect_unix, serve_tls
from openapi import SPEC, fits, validator
from snapgroupd import Daemon, expect, main

PROBLEM = validator(SPEC["components"]["schemas"]["Problem"])
HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /devices HTTP/1.1\r\n" + HOST + JSON
GOOD = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
SMUGGLED = b"POST /devices HTTP/1.1\r\n" + HOST + JSON + \
    b'Content-Length: 60\r\n\r\n{"name":"s","image":"s","format":"raw","size_bytes":1048576}'

# What comes in front of SMUGGLED.
WRONG = [
    (400, POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
    (400, POST + b"Content-Length: 2\r\nContent-Length: 0\r\n\r\n{}"),
    (400, POST + b"Content-Length: 2, 2\r\n\r\n{}"),
    (400, POST + b"Content-Length: +2\r\n\r\n{}"),
    (400, POST + b"Content-Length: -2\r\n\r\n{}"),
    (400, POST + b"Content-Length: 0x2\r\n\r\n{}"),
    (400, POST + b"Content-Length: 2 2\r\n\r\n{}"),
    (400, POST + b"Content-Length:\r\n\r\n{}"),
    (413, POST + b"Content-Length: 99999999999999999999999999\r\n\r\n{}"),
    (413, POST + b"Content-Length: 18446744073709551618\r\n\r\n{}"),
    (413, POST + b"Content-Length: 1048577\r\n\r\n{}"),
    (400, POST + b"Content-Length : 2\r\n\r\n{}"),
    (400, POST + b"Content-Length\t: 2\r\n\r\n{}"),
    (400, POST + b" Content-Length: 2\r\n\r\n{}"),
    (400, POST + b"X: 1\r\n Content-Length: 2\r\n\r\n{}"),
    (400, POST + b"X: 1\r\n\tfolded\r\nContent-Length: 2\r\n\r\n{}"),
    (400, POST + b"Transfer-Encoding: chunked\r\n folded\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Content-Length: 2\n\n{}"),
    (400, POST + b"Content-Length: 2\r\n\n{}"),
    (400, POST + b"X: a\nContent-Length: 2\r\n\r\n{}"),
    (400, POST + b"X: a\rContent-Length: 2\r\n\r\n{}"),
    (400, POST + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}"),
    (400, POST + b"X: a\x7fb\r\nContent-Length: 2\r\n\r\n{}"),
    (400, POST + b": nameless\r\nContent-Length: 2\r\n\r\n{}"),
    (400, POST + b"no colon\r\nContent-Length: 2\r\n\r\n{}"),
    (400, POST + b"X(y): 1\r\nContent-Length: 2\r\n\r\n{}"),
    (400, POST + b"Host: localhost\r\nContent-Length: 2\r\n\r\n{}"),
    (400, POST + b"Host: evil.example\r\nContent-Length: 2\r\n\r\n{}"),
    (400, POST + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}"),
    (400, b"GET /livez HTTP/1.1\r\n\r\n"),
    (400, b"GET /livez HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    (400, b"GET /livez HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, b"GET /livez HTTP/1.1\r\nHost: user@localhost\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: gzip\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}"),
    (400, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked;x\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    (400, POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n 2\r\n{}\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n2;a\rb\r\n{}\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX : 1\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 7\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 5000 + b"\r\n{}\r\n0\r\n\r\n"),
    (413, POST + b"Transfer-Encoding: chunked\r\n\r\n100001\r\n"),
    (413, POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n"),
    (413, POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n \r\n100000\r\n"),
    (400, b"GET  /livez HTTP/1.1\r\n" + HOST + b"\r\n"),
    (400, b"GET /livez  HTTP/1.1\r\n" + HOST + b"\r\n"),
    (400, b"GET /livez HTTP/1.1 \r\n" + HOST + b"\r\n"),
    (400, b"GET\t/livez\tHTTP/1.1\r\n" + HOST + b"\r\n"),
    (400, b" GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"),
    (400, b"G(T /livez HTTP/1.1\r\n" + HOST + b"\r\n"),
    (400, b"GET /livez http/1.1\r\n" + HOST + b"\r\n"),
    (400, b"GET /livez HTTP/1.1x\r\n" + HOST + b"\r\n"),
    (400, b"GET /livez HTTP/11\r\n" + HOST + b"\r\n"),
    (400, b"GET /l\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n"),
    (400, b"GET /livez#x HTTP/1.1\r\n" + HOST + b"\r\n"),
    (400, b"GET /livez\r\n"),
    (400, b"GET\r\n\r\n"),
    (400, b"\n" + GOOD),
    (400, b"\r\n\r\n\r\n" + GOOD),
    (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n"),  # TLS
    (505, b"GET /livez HTTP/2.0\r\n" + HOST + b"\r\n"),
    (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (414, b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    (414, b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
    (431, b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 17000 + b"\r\n\r\n"),
    (431, b"GET /livez HTTP/1.1\r\n" + HOST + b"X: 1\r\n" * 200 + b"\r\n"),
]
CODES = {400: "MalformedRequest", 413: "BodyTooLarge", 414: "URITooLong", 431: "HeadersTooLarge",
         505: "VersionNotSupported"}

SERVED = [
    (200, GOOD),
    (200, b"\r\n" + GOOD),
    (200, b"GET /livez HTTP/1.2\r\n" + HOST + b"\r\n"),
    (200, b"GET /livez HTTP/1.1\r\nhOST:localhost\r\nX:\r\nY: \t a \xe4 b\t \r\n\r\n"),
    (200, b"GET http://localhost/livez HTTP/1.1\r\n" + HOST + b"\r\n"),
    (400, POST + b"Content-Length: 2\r\n\r\n{}"),
    (400, POST + b"content-length:002 \r\n\r\n{}"),
    (400, POST + b"Transfer-Encoding: Chunked\r\n\r\n1\r\n{\r\n001;a=b ; c=\"d\"\r\n}\r\n0\r\nX: y\r\n\r\n"),
    (404, b"GET /devices/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    (404, b"POST /devices/ HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 2\r\n\r\n{}"),
    (404, b"GET /livez/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    (404, b"GET /snapshot-groups/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    (404, b"DELETE /devices/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    (405, b"get /livez HTTP/1.1\r\n" + HOST + b"\r\n"),
]


def parse(text):
    """The answers in what was received: (status, headers, body)."""
    while text:
        head, _, text = text.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        length = int(headers.get("content-length", 0))
        yield int(lines[0].split()[1]), headers, text[:length]
        text = text[length:]


def talk(daemon, connect, text):
    """All that is received until the end of the connection, which TLS announces; nothing is sent
    after `text`, but no end either."""
    with connect(daemon) as peer:
        peer.sendall(text)
        received = b""
        while part := peer.recv(65536):
            received += part
        return list(parse(received))


def check_wrong(daemon, connect, status, text, before):
    answers = talk(daemon, connect, before + text + SMUGGLED)
    about = text[:150]
    expect(len(answers) == 1 + bool(before), "%r: %d answers: %s", about, len(answers), answers)
    got, headers, body = answers[-1]
    expect(got == status, "%r: status %d instead of %d: %s", about, got, status, body)
    expect(headers.get("connection") == "close", "%r: not closed: %s", about, headers)
    expect(headers["content-type"] == "application/problem+json", "%r: %s", about, headers)
    problem = json.loads(body)
    expect((problem["status"], problem["code"]) == (status, CODES[status]), "%r: %s", about, problem)
    fits(problem, None, about, PROBLEM)


def check_all(daemon, connect):
    for status, text in WRONG:
        for before in (b"", GOOD):
            check_wrong(daemon, connect, status, text, before)
    last = b"GET /livez HTTP/1.1\r\nConnection: Keep-Alive , Close\r\n" + HOST + b"\r\n"
    for status, text in SERVED:
        answers = talk(daemon, connect, text + text + last)
        expect([answer[0] for answer in answers] == [status, status, 200], "%r: %s", text, answers)
    expect([answer[0] for answer in talk(daemon, connect, b"GET /livez HTTP/1.0\r\n\r\n")] == [200], "HTTP/1.0")
    expect(daemon.get("/devices")["items"] == [], "a request was smuggled in: %s", daemon.get("/devices"))


def test():
    with Daemon() as daemon:
        daemon.arguments += ["--listen", "unix:" + os.path.join(daemon.runtime, "api.sock")]
        context = serve_tls(daemon)
        daemon.start()
        check_all(daemon, connect_unix)
        check_all(daemon, lambda served: connect_tls(served, context))


main(test)
