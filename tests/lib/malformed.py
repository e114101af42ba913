# SPDX-License-Identifier: Apache-2.0
"""Malformed requests, by a random generator: each kind yields the bytes of one and the statuses
that are right for it. Those of FRAMING end the connection; SMUGGLED follows them, which would
create a file if it were taken for a request.
"""
import json
import re

from openapi import operations

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
SMUGGLED = b"POST /devices HTTP/1.1\r\n" + HOST + JSON + \
    b'Content-Length: 60\r\n\r\n{"name":"s","image":"s","format":"raw","size_bytes":1048576}'
DEVICE = {"name": "new", "image": "new.raw", "format": "raw", "size_bytes": 1 << 20, "labels": {"a": "b"}}
GROUP = {"name": "new", "devices": [{"device": "vda", "format": "qcow2"}], "labels": {"a": "b"}}
NAMES = b"abcdefghijklmnopqrstuvwxyz0123456789"
PATHS = sorted({re.sub(r"{\w+}", "none", path) for _, path in operations()})
BROKEN_UTF8 = (b"\xff", b"\xfe", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
               b"\xf8\x88\x80\x80\x80", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80", b"\xbf")
NO_NUMBERS = (b"NaN", b"Infinity", b"-Infinity", b"01", b"-", b"+1", b"1.", b".5", b"1e", b"1e+", b"0x10", b"1_000", b"--1",
              b"1" * 100)
NO_SIZES = (b"-1", b"1.5", b"1e400", b"9007199254740993", b"18446744073709551616", b"0", b'"1"', b"true", b"null", b"{}",
            b"[]", b"-0.0001", b"1e-5")


def word(random, most=12):
    return bytes(random.choice(NAMES) for _ in range(random.randint(1, most)))


def post(path, body, more=b"", content=JSON):
    return b"POST %s HTTP/1.1\r\n%s%s%sContent-Length: %d\r\n\r\n%s" % (path, HOST, content, more, len(body), body)


def valid(random):
    """A path and a body that are right."""
    return random.choice(((b"/devices", DEVICE), (b"/snapshot-groups", GROUP)))


def text_of(random, value):
    return json.dumps(value, separators=random.choice(((",", ":"), (", ", ": ")))).encode()


# ---- JSON ----

def cut_json(random):
    path, value = valid(random)
    text = text_of(random, value)
    return post(path, text[:random.randrange(1, len(text))]), {400}


def damaged_json(random):
    path, value = valid(random)
    text = text_of(random, value)
    places = [i for i, byte in enumerate(text) if byte in b"{}[]:,"]
    at = random.choice(places)
    other = random.choice([b"", b";", b"'", b"\0", b"\\", b"/", b"=", b"\x1f", b"::", b",,"])
    return post(path, text[:at] + other + text[at + 1:]), {400}


def json_with_more(random):
    path, value = valid(random)
    more = random.choice((b"x", b"{}", b",", b"]", b"}", b"\0", b"//", b"/**/", b"null"))
    text = text_of(random, value)
    return post(path, random.choice((text + more, b"\xef\xbb\xbf" + text, more + text))), {400}


def broken_text(random):
    path, value = valid(random)
    name = b'"name": "'
    bad = random.choice(BROKEN_UTF8 + (b"\\x41", b"\\u12", b"\\ud800", b"\\udc00", b"\\u0000", b"\\", b"\n", b"\x01", b"\0"))
    text = json.dumps(value).encode()
    at = text.index(name) + len(name)
    return post(path, text[:at] + word(random) + bad + b" " + text[at:]), {400}


def no_number(random):
    return post(b"/devices", b'{"size_bytes":%s,"name":"n"}' % random.choice(NO_NUMBERS)), {400}


def no_size(random):
    text = text_of(random, {**DEVICE, "size_bytes": 4711}).replace(b"4711", random.choice(NO_SIZES))
    return post(b"/devices", text), {400, 422}


def deep(random):
    depth = random.choice((17, 18, 100, 1000, 20000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    end = random.choice((b"1" + closing * depth, b""))
    return post(valid(random)[0], b'{"name":' + opening * depth + end + b"}"), {400}


def many_values(random):
    return post(valid(random)[0], b'{"name":[' + b"0," * random.randint(8192, 20000) + b"0]}"), {400}


def doubled_field(random):
    path, value = valid(random)
    text = text_of(random, value)
    name = random.choice(sorted(value))
    return post(path, b"%s,%s:%s}" % (text[:-1], json.dumps(name).encode(), text_of(random, value[name]))), {400}


def unknown_field(random):
    path, value = valid(random)
    return post(path, text_of(random, {**value, "x" + word(random).decode(): random.choice((1, None, "a", {}, []))})), {400}


def wrong_type(random):
    path, value = valid(random)
    name = random.choice(sorted(value))
    others = [other for other in (None, 1, "a", True, [], {}) if not isinstance(other, type(value[name]))]
    return post(path, text_of(random, {**value, name: random.choice(others)})), {400}


def missing_field(random):
    path, value = valid(random)
    name = random.choice(["name", "image", "format"] if path == b"/devices" else ["devices"])
    return post(path, text_of(random, {key: value[key] for key in value if key != name})), {400}


def wrong_value(random):
    path, value = valid(random)
    more = random.choice(({"name": ""}, {"name": "/"}, {"name": "a b"}, {"name": "a" * 1000}, {"name": "\u00e4"}, {"name": "."},
                          {"labels": {"a": 1}}, {"labels": {"a": "x" * 257}}, {"labels": {str(i): "" for i in range(65)}}))
    if path == b"/devices":
        more = random.choice((more, {"format": "vmdk"}, {"image": ""}, {"image": "../x"}, {"image": "x" * 5000},
                              {"image": "/etc/passwd"}, {"read_only": True}, {"cluster_size_bytes": 7}))
    else:
        more = random.choice((more, {"devices": []}, {"devices": [1]}, {"devices": [{}]}, {"devices": [{"device": "none"}]},
                              {"devices": [{"device": "vda"}, {"device": "vda"}]}, {"devices": [{"device": "vda", "x": 1}]},
                              {"devices": [{"device": "vda", "format": "raw"}]}))
    return post(path, text_of(random, {**value, **more})), {400, 404, 422}


def no_json(random):
    path, value = valid(random)
    content = random.choice((b"", b"Content-Type: text/plain\r\n", b"Content-Type: application/jsonx\r\n", b"Content-Type:\r\n",
                             b"Content-Type: application/x-www-form-urlencoded\r\n",
                             JSON + b"Content-Encoding: %s\r\n" % random.choice((b"gzip", b"br", word(random)))))
    return post(path, text_of(random, value), content=content), {415}


def large_body(random):
    return post(valid(random)[0], b" " * (1024 * 1024) + word(random) + b"{}"), {413}


# ---- paths, queries and methods ----

def get(target, method=b"GET"):
    return b"%s %s HTTP/1.1\r\n%s\r\n" % (method, target, HOST)


def unknown_path(random):
    parts = [random.choice((word(random), b"", b"..", b".", b"%2f", b"%ff", b"devices")) for _ in range(random.randint(1, 12))]
    return get(b"/no-" + b"/".join(parts)), {404}


def broken_escape(random):
    bad = random.choice((b"%", b"%z", b"%1", b"%zz", b"%0g", b"%00", b"%%", b"%-1"))
    return get(b"/devices/" + word(random) + bad), {400}


def no_path(random):
    return get(random.choice((b"*", b"devices", b"http://localhost", b"localhost:80", b"ftp://localhost/devices"))), {404}


def raw_bytes(random):
    return get(b"/devices/" + random.choice(BROKEN_UTF8 + (b"\xc3\xa4", b"#", b"\x01", b"\x7f", b"\t"))), {400}


def wrong_query(random):
    query = random.choice((b"limit=0", b"limit=-1", b"limit=1001", b"limit=%31x", b"limit=", b"limit", b"limit=1&limit=1",
                           b"cursor=%s" % (b"x" * 300), b"=", b"&", b"a=b=c", b"%s=%s" % (word(random), word(random)), b"limit=%zz",
                           b"&".join(b"%s=1" % word(random) for _ in range(20)), b"state=%ff", b"cursor=\\"))
    return get(random.choice((b"/devices?", b"/snapshot-groups?")) + query), {400}


def wrong_method(random):
    path = random.choice(PATHS).encode()
    method = random.choice((b"TRACE", b"CONNECT", b"get", b"BREW", b"!#$%&'*+.^_`|~-", word(random).upper() + b"X"))
    return get(path, method), {405}


def unwanted_body(random):
    path = random.choice((b"/devices", b"/devices/vda", b"/livez", b"/snapshot-groups"))
    return post(path, word(random)).replace(b"POST", b"GET", 1), {400}


# ---- framing: the last request of its connection ----

def wrong_line(random):
    return random.choice((b"GET\r\n", b"GET /livez\r\n", b"GET  /livez HTTP/1.1\r\n", b"GET /livez HTTP/1.1 \r\n", b"\x16\x03\x01\r\n",
                          b"GET /livez HTTP/1.1\n", b" GET /livez HTTP/1.1\r\n", b"GET /livez HTTP/11\r\n", b"/livez\r\n",
                          b"G(T /livez HTTP/1.1\r\n", b"GET /livez http/1.1\r\n", b"GET\t/livez\tHTTP/1.1\r\n",
                          b"GET /livez HTTP/1.x\r\n", word(random) + b"\0\r\n")) + HOST + b"\r\n", {400}


def wrong_version(random):
    return b"GET /livez HTTP/%d.%d\r\n" % (random.choice((0, 2, 3, 9)), random.randrange(10)) + HOST + b"\r\n", {505}


def wrong_field(random):
    name = word(random)
    line = random.choice((name, b": " + name, name + b" : x", b" " + name + b": x", name + b": a\0b", name + b": a\x0bb", name + b": a\rb",
                          name + b": a\n" + name + b": b", name + b"(x): y", b"\xff" + name + b": x", name + b": x\r\n folded",
                          b"Host: localhost", b"Host: a b", b"Content-Length: 1\r\nContent-Length: 1",
                          b"Content-Type: a/b\r\nContent-Type: a/b", b"Transfer-Encoding: chunked\r\nContent-Length: 2",
                          b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: x"))
    return b"POST /devices HTTP/1.1\r\n" + HOST + line + b"\r\n\r\n", {400}


def no_host(random):
    return b"GET /%s HTTP/1.1\r\nX: y\r\n\r\n" % word(random), {400}


def wrong_length(random):
    length = random.choice((b"", b"-1", b"+1", b"0x1", b"1 1", b"1,1", b"1.0", b"a", b'"1"', word(random) + b"z"))
    return b"POST /devices HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: %s\r\n\r\n" % length, {400}


def large_length(random):
    return b"POST /devices HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: %d\r\n\r\n" % random.randrange(1048577, 1 << 90), {413}


def long_target(random):
    return get(b"/" + b"a" * random.randint(8192, 9000)), {414}


def long_head(random):
    if random.random() < 0.5:
        return b"GET /livez HTTP/1.1\r\n" + HOST + b"X: y\r\n" * random.randint(100, 300) + b"\r\n", {431}
    return b"GET /livez HTTP/1.1\r\n" + HOST + b"X: " + b"y" * random.randint(16384, 20000) + b"\r\n\r\n", {431}


def wrong_chunk(random):
    chunk = random.choice((b"\r\n", b"x\r\n", b"-2\r\n{}\r\n", b"0x2\r\n{}\r\n", b"2 2\r\n{}\r\n", b"+2\r\n{}\r\n", b"2\r\n{}0\r\n\r\n",
                           b"2\n{}\r\n", b"1\r\n{}\r\n", b"2;a\x01\r\n{}\r\n", b"2" + b" " * 5000 + b"\r\n",
                           b"0\r\nContent-Length: 1\r\n\r\n", b"0\r\nHost: a\r\n\r\n", b"0\r\nx y: 1\r\n\r\n", b"0\r\n folded\r\n\r\n",
                           b"0\r\n" + b"a: b\r\n" * 200 + b"\r\n", word(random) + b"z\r\n"))
    return b"POST /devices HTTP/1.1\r\n" + HOST + JSON + b"Transfer-Encoding: chunked\r\n\r\n" + chunk, {400}


def large_chunk(random):
    return b"POST /devices HTTP/1.1\r\n" + HOST + JSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % random.randrange(1048577, 1 << 90), {413}


FRAMING = (wrong_line, wrong_version, wrong_field, no_host, wrong_length, large_length, long_target, long_head, wrong_chunk,
           large_chunk, raw_bytes)
OTHERS = (cut_json, damaged_json, json_with_more, broken_text, no_number, no_size, deep, many_values, doubled_field, unknown_field,
          wrong_type, missing_field, wrong_value, no_json, unknown_path, broken_escape, no_path, wrong_query, wrong_method,
          unwanted_body)
RARE = (large_body,)  # costly, and one is like the other
