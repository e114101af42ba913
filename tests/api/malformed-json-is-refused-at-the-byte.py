#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Texts that are not JSON (RFC 8259), or exceed our limits, are MalformedJSON, and the detail names
# the byte.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Answer, Daemon, expect, main

TEXTS = [
    (0, b''),
    (1, b'{'),
    (0, b'}'),
    (7, b'{"name"}'),
    (8, b'{"name":}'),
    (12, b'{"name":"a",}'),
    (12, b'{"name":"a" "image":"a"}'),
    (3, b'{} {}'),
    (2, b'{}\0'),
    (1, b'{\0}'),
    (0, b'\xef\xbb\xbf{}'),  # a byte order mark
    (0, b'\f{}'),
    (1, b'{name:1}'),
    (1, b"{'name':1}"),
    (9, b'{"name":01}'),
    (9, b'{"name":-}'),
    (10, b'{"name":1.}'),
    (10, b'{"name":1e}'),
    (8, b'{"name":.5}'),
    (8, b'{"name":+1}'),
    (8, b'{"name":NaN}'),
    (8, b'{"name":Infinity}'),
    (8, b'{"name":tru}'),
    (12, b'{"name":nullx}'),
    (69, b'{"name":' + b'1' * 61 + b'}'),  # longer than any number we take
    (10, b'{"name":"a'),
    (10, b'{"name":"a\nb"}'),
    (10, b'{"name":"a\tb"}'),
    (10, b'{"name":"a\0b"}'),
    (15, b'{"name":"\\u0000"}'),
    (13, b'{"name":"\\u12x4"}'),
    (15, b'{"name":"\\ud800"}'),  # surrogates without their other half
    (15, b'{"name":"\\udc00"}'),
    (21, b'{"name":"\\ud800\\u0041"}'),
    (10, b'{"name":"\\x41"}'),
    (9, b'{"name":"\xff"}'),
    (9, b'{"name":"\xc0\x80"}'),  # overlong
    (9, b'{"name":"\xed\xa0\x80"}'),  # a surrogate
    (9, b'{"name":"\xf4\x90\x80\x80"}'),  # beyond U+10FFFF
    (9, b'{"name":"\xc3"}'),
    (3, b'[1]]'),
    (24, b'{"name":' + b'[' * 16 + b']' * 16 + b'}'),  # 17 deep
    (24, b'{"name":' + b'[' * 500000),
    (9 + 2 * 8190, b'{"name":[' + b'0,' * 500000),  # more values than any body of ours
]

# These are JSON: what is wrong with them is something else.
OTHERS = [
    ("WrongType", b'{"name":' + b'[' * 15 + b']' * 15 + b'}'),
    ("WrongType", b'{"name":[' + b'0,' * 8189 + b'0]}'),
    ("WrongType", b' \t\r\n[1, -0.5e+3 , "\\u00e4\\/\\b" , {} , [ ] , true,false,null]\n'),
    ("InvalidValue", b'{"name":"\\ud83d\\ude00","image":"a","format":"raw"}'),
    ("InvalidValue", '{"name":"\U0001f600","image":"a","format":"raw"}'.encode()),
]


def post(connection, body):
    connection.request("POST", "/devices", body, {"Content-Type": "application/json"})
    return Answer(connection.getresponse())


def test():
    with Daemon() as daemon:
        daemon.start()
        connection = daemon.connection()
        for byte, text in TEXTS:
            answer = post(connection, text)
            expect(answer.status == 400 and answer.body["code"] == "MalformedJSON", "%r: %s", text[:60], answer)
            expect(answer.body["detail"].startswith("byte %d: " % byte), "%r: %s", text[:60], answer)
            expect("pointer" not in answer.body, "%r: %s", text[:60], answer)
        for code, text in OTHERS:
            answer = post(connection, text)
            expect(answer.body["code"] == code, "%r: %s", text[:60], answer)
        connection.close()


main(test)
