#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Every refusal, of framing too, is a whole problem: with instance and request_id. A fault that only
# another request can mend is never retryable, which goes for an image that a device, a group or
# another image needs; a lock that another program holds is, and the same request succeeds once it
# is released.
import json
import os
import socket
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from openapi import SPEC, fits
from snapgroupd import DEADLINE_S, Daemon, expect, main, run

HOST = "Host: localhost\r\nX-Request-Id: r-1\r\n"
RAW = [  # head, status, code, instance
    ("GET / HTTP/1.1 x\r\n" + HOST, 400, "MalformedRequest", "/"),
    ("GET\r\n" + HOST, 400, "MalformedRequest", "/"),
    ("GET /a%20b\"<c> HTTP/1.1\r\n" + HOST, 404, "NotFound", "/a%20b%22%3Cc%3E"),
    ("GET /%zz HTTP/1.1\r\n" + HOST, 400, "InvalidParameter", "/%25zz"),
    ("GET /devices?x=1 HTTP/1.1\r\n" + HOST, 400, "InvalidParameter", "/devices"),
    ("GET /livez HTTP/1.1\r\n" + HOST + "no field\r\n", 400, "MalformedRequest", "/livez"),
    ("GET /livez HTTP/2.0\r\n" + HOST, 505, "VersionNotSupported", "/livez"),
    ("GET /%s HTTP/1.1\r\n" % ("x" * 8192) + HOST, 414, "URITooLong", "/" + "x" * 508),
    ("GET /livez HTTP/1.1\r\n" + HOST + "A: %s\r\n" % ("x" * 16384), 431, "HeadersTooLarge", "/livez"),
    ("POST /devices HTTP/1.1\r\n" + HOST + "Content-Length: 1048577\r\n", 413, "BodyTooLarge", "/devices"),
    ("PUT /devices HTTP/1.1\r\n" + HOST, 405, "MethodNotAllowed", "/devices"),
]
DISK = {"name": "vda", "image": "vda.qcow2", "format": "qcow2", "size_bytes": 1 << 20}
PERMANENT = [
    ("POST", "/devices", DISK, "DeviceExists"),
    ("POST", "/devices", {**DISK, "name": "vdb"}, "OpenFileFailed"),
    ("POST", "/devices", {"name": "vdb", "image": "junk", "format": "qcow2"}, "InvalidBlockFormat"),
    ("POST", "/devices", {"name": "vdb", "image": "../junk", "format": "raw"}, "OpenFileFailed"),
    ("POST", "/devices", {"name": "?", "image": "junk", "format": "raw"}, "InvalidValue"),
    ("POST", "/devices", {}, "MissingField"),
    ("POST", "/snapshot-groups", {"devices": []}, "EmptyGroup"),
    ("POST", "/snapshot-groups", {"devices": [{"device": "no"}]}, "DeviceNotFound"),
    ("POST", "/snapshot-groups", {"devices": [{"device": "vda"}] * 2}, "DuplicateDevice"),
    ("POST", "/snapshot-groups", {"devices": [{"device": "vda", "format": "raw"}]}, "InvalidBlockFormat"),
    ("POST", "/snapshot-groups", {"devices": [{"device": "vda", "snapshot_file": "junk"}]}, "OpenFileFailed"),
    ("GET", "/snapshot-groups/none", None, "GroupNotFound"),
    ("DELETE", "/devices/none", None, "DeviceNotFound"),
]


def exchange(daemon, head):
    """Status, header fields and body of the answer to a raw head."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(DEADLINE_S)
        peer.connect(os.path.join(daemon.runtime, "api.sock"))
        peer.sendall(head.encode("latin-1") + b"\r\n")
        peer.shutdown(socket.SHUT_WR)
        received = b""
        while part := peer.recv(65536):
            received += part
    answered, body = received.decode().split("\r\n\r\n", 1)
    lines = answered.split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), json.loads(body)


def framing(daemon):
    for head, status, code, instance in RAW:
        shown, fields, problem = exchange(daemon, head)
        fits(problem, SPEC["components"]["schemas"]["Problem"], head[:60])
        expect((shown, problem["status"], problem["code"]) == (status, status, code), "%r: %s", head[:60], problem)
        expect(problem["instance"] == instance, "%r: %s", head[:60], problem)
        expect(problem["request_id"] == fields["X-Request-Id"], "%r: %s %s", head[:60], fields, problem)
        expect(problem["retryable"] is False, "%r: %s", head[:60], problem)


def permanent(daemon):
    for method, path, body, code in PERMANENT:
        for _ in range(2):
            problem = daemon.request(method, path, body).body
            expect((problem["code"], problem["retryable"]) == (code, False), "%s %s %s: %s", method, path, body, problem)
    # An attempt that is kept is the instance of its problem.
    problem = daemon.request("POST", "/snapshot-groups", {"devices": [{"device": "no"}]}).body
    error = daemon.get(problem["instance"])["error"]
    expect(error == {key: value for key, value in problem.items() if key != "request_id"}, "%s, not %s", error, problem)


def needed(daemon):
    """Nothing but a detach, or the deletion of a group or a file, gives the image back."""
    def refused(image, who):
        body = {"name": "w", "image": image, "format": "qcow2"}
        problem = daemon.request("POST", "/devices", body).body
        expect((problem["code"], problem["retryable"]) == ("ImageInUse", False), "%s: %s", image, problem)
        expect(who in problem["detail"], "%s, needed by %s: %s", image, who, problem)

    daemon.create_device("vdn", "qcow2", 1 << 20)
    refused("vdn.qcow2", "device 'vdn'")
    daemon.snapshot("gn", ["vdn"])
    refused("vdn.qcow2", "device 'vdn'")
    refused("vdn+gn.qcow2", "device 'vdn'")
    expect(daemon.request("DELETE", "/devices/vdn").status == 204, "the detach")
    refused("vdn.qcow2", "snapshot group 'gn'")
    os.rename(daemon.image("vdn.qcow2"), daemon.image("away"))
    body = {"devices": [{"device": "vda", "snapshot_file": "vdn.qcow2"}]}
    problem = daemon.request("POST", "/snapshot-groups", body).body
    expect((problem["code"], problem["retryable"]) == ("ImageInUse", False), "an overlay in its place: %s", problem)
    os.rename(daemon.image("away"), daemon.image("vdn.qcow2"))


def locked(daemon):
    run("qemu-img", "create", "-q", "-f", "qcow2", daemon.image("held"), "1M")
    attach = {"name": "held", "image": "held", "format": "qcow2"}
    with subprocess.Popen(["qemu-io", "-f", "qcow2", daemon.image("held")], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as holder:
        print("write 0 512", file=holder.stdin, flush=True)
        while "wrote" not in holder.stdout.readline():
            pass
        answer = daemon.request("POST", "/devices", attach)
        holder.stdin.close()
    expect(answer.status == 422 and answer.body["retryable"] is True, "locked: %s", answer)
    answer = daemon.request("POST", "/devices", attach)
    expect(answer.status == 201, "released: %s", answer)


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        run("truncate", "-s", "1M", daemon.image("junk"))
        framing(daemon)
        permanent(daemon)
        needed(daemon)
        locked(daemon)


main(test)
