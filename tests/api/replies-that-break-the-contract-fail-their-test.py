#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# What main() and functions.sh do at the end of every test: a real reply passes, and each change to
# it that the contract does not have is found. A shell test fails by it.
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from openapi import reply_check
from snapgroupd import EXCHANGES, Daemon, Failure, SOURCE_DIR, expect, main


def without(headers, name):
    return tuple(header for header in headers if header[0] != name)


def expect_found(what, *reply):
    try:
        reply_check(*reply)
    except Failure:
        return
    raise Failure("not found: " + what)


def breaches(created, missing, listed):
    method, path, status, headers, text = created
    yield "a status", (method, path, 202, headers, text)
    yield "a header too many", (method, path, status, headers + (("X-New", "1"),), text)
    yield "a missing header", (method, path, status, without(headers, "Location"), text)
    yield "a bad header", (method, path, status, without(headers, "X-Request-Id") + (("X-Request-Id", "{}"),), text)
    yield "a content type", (method, path, status, without(headers, "Content-Type") + (("Content-Type", "text/html"),),
                             text)
    yield "a value", (method, path, status, headers, text.replace('"online"', '"offline"'))
    yield "a time", (method, path, status, headers, text.replace('Z"', '"'))
    yield "a field too many", (method, path, status, headers, text.replace('{"name"', '{"new":1,"name"'))
    yield "a missing field", (method, path, status, headers, text.replace('"format"', '"engine"'))
    yield "a status without an operation", ("GET", "/nothing", status, headers, text)
    method, path, status, headers, text = missing
    yield "another status than the body's", (method, path, 400, headers, text)
    yield "a code of another call", (method, path, status, headers, text.replace("DeviceNotFound", "GroupNotFound"))
    yield "an unknown code", (method, path, status, headers, text.replace("DeviceNotFound", "DiskNotFound"))
    yield "the id of another request", (method, path, status, without(headers, "X-Request-Id") +
                                        (("X-Request-Id", "other"),), text)
    yield "no advice", (method, path, status, headers, text.replace("; ", ", "))
    yield "another instance", (method, path, status, headers, text.replace("/devices/none", "/devices/vda"))
    yield "a 503 without Retry-After", (method, path, 503, headers, text.replace("404", "503"))
    method, path, status, headers, text = listed
    yield "a wrong item", (method, path, status, headers, text.replace('"read_only":false', '"read_only":"no"'))
    yield "a body of HEAD", ("HEAD", path, status, headers, text)


SHELL = """
. "$SOURCE_DIR/tests/lib/functions.sh"
start_daemon
api GET /devices
api HEAD /devices
api GET /devices/none
%s
"""


def shell(more):
    return subprocess.run(["bash", "-c", SHELL % more], env={**os.environ, "SOURCE_DIR": SOURCE_DIR},
                          capture_output=True, text=True, check=False)


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        daemon.request("GET", "/devices/none")
        daemon.request("GET", "/devices")
    for exchange in EXCHANGES:
        reply_check(*exchange)
    for what, reply in breaches(*EXCHANGES):
        expect(reply not in EXCHANGES, "%s is no change", what)
        expect_found(what, *reply)
    done = shell("")
    expect(done.returncode == 0, "the shell test fails: %s", done.stderr)
    done = shell(r"printf '%s\0' GET /devices 200 \"$HEADERS\" \"$BODY\" >>\"$EXCHANGES\"".replace('\\"', '"'))
    expect(done.returncode == 1 and "the contract" in done.stderr, "the shell test passes: %s", done.stderr)


main(test)
