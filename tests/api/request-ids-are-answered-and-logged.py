#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Every reply has X-Request-Id: that of the request if it is valid and unique, else a new UUID; also
# for malformed requests. The log has one line for each change, with the id, and none for reads.
import os
import re
import socket
import sys
import uuid

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import DEADLINE_S, Daemon, expect, main

TAKEN = ["a", "0af7651916cd43dd8448eb211c80319c", "job-7/step_2:3.a+b=", "x" * 128]
REPLACED = ["", "x" * 129, "a b", "a,b", "a\"b", "a\tb", "ä", "<script>"]


def answered(daemon, head):
    """X-Request-Id of the answer to the raw head."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(DEADLINE_S)
        peer.connect(os.path.join(daemon.runtime, "api.sock"))
        peer.sendall(head.encode("latin-1") + b"Connection: close\r\n\r\n")
        received = b""
        while part := peer.recv(65536):
            received += part
    ids = re.findall(r"\r\nX-Request-Id: ([^\r]*)\r\n", received.decode())
    expect(len(ids) == 1, "%r: %r", head, received)
    return ids[0]


def is_new(text):
    return len(text) == 36 and str(uuid.UUID(text)) == text


def test():
    with Daemon() as daemon:
        daemon.start()
        for path in ("/livez", "/nowhere", "/devices?x=1"):
            get = "GET %s HTTP/1.1\r\nHost: localhost\r\n" % path
            for text in TAKEN:
                expect(answered(daemon, get + "x-request-ID: %s\r\n" % text) == text, "%s is not answered", text)
            made = {answered(daemon, get + "X-Request-Id: %s\r\n" % text) for text in REPLACED}
            made |= {answered(daemon, get), answered(daemon, get + "X-Request-Id: a\r\n" * 2)}
            expect(len(made) == len(REPLACED) + 2 and all(map(is_new, made)), "made: %s", made)
            expect(is_new(answered(daemon, get.replace("1.1", "9.9") + "\r\n")), "malformed")
            expect(answered(daemon, get + "X-Request-Id: a\r\nno field\r\n") == "a", "malformed later on")
        connection = daemon.connection()
        connection.request("POST", "/devices", "{}", {"Content-Type": "application/json", "X-Request-Id": "change-1"})
        expect(connection.getresponse().read(), "no problem")
        connection.close()
        expect(daemon.request("DELETE", "/devices/%0a%1b").status == 404, "DELETE")
        with open(daemon.log_path) as log:
            lines = re.findall(r"<6>(.*request .*)", log.read())
        uid = os.getuid()
        expect(len(lines) == 2, "logged: %s", lines)
        expect(re.fullmatch(r"POST /devices: 400 after \d+ us; by uid %d; request change-1" % uid, lines[0]),
               "logged: %s", lines[0])
        expect(re.fullmatch(r"DELETE /devices/%%0a%%1b: 404 after \d+ us; by uid %d; request [0-9a-f-]{36}" % uid,
                            lines[1]), "logged: %s", lines[1])


main(test)
