#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The log as text, as JSON objects and as journald's fields, with the request's id and what was
asked; its level decides which calls it includes. Without a journald, its records are text."""
import json
import os
import re
import socket
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
from snapgroupd import SNAPGROUPD, Daemon, expect, main

# The mount namespace keeps this machine's own journald out of it: the directory $JOURNAL, if there
# is one, takes its place.
WRAPPER = """#!/bin/sh
exec unshare --mount sh -c 'mount -t tmpfs none /run && mkdir -p /run/systemd/journal &&
    { [ -z "$JOURNAL" ] || mount --bind "$JOURNAL" /run/systemd/journal; } && exec "$0" "$@"' SNAPGROUPD "$@"
"""


def logged(form, level, **more):
    """The log of a daemon that was asked to read, and to delete what it has not."""
    with Daemon(arguments=["--log-format", form, "--log-level", level], **more) as daemon:
        daemon.start()
        expect(daemon.request("GET", "/devices").status == 200, "GET")
        connection = daemon.connection()
        connection.request("DELETE", "/devices/vd%ff%22", headers={"X-Request-Id": "change-1"})
        expect(connection.getresponse().read(), "DELETE")
        connection.close()
        daemon.stop()
        with open(daemon.log_path) as log:
            return log.read().splitlines()


def test_text():
    wanted = {"error": [], "warning": [], "info": ["DELETE"], "debug": ["GET", "DELETE"]}
    for level, methods in wanted.items():
        for form in ("text", "auto"):
            lines = logged(form, level)
            expect(all(re.match("<[3467]>", line) for line in lines), "%s %s: %s", form, level, lines)
            calls = [line for line in lines if "; request " in line]
            expect([re.sub("<.>| .*", "", line) for line in calls] == methods, "%s %s: %s", form, level, lines)


def expect_fields(record, names, prefix=""):
    call = {prefix + "method": "DELETE", prefix + "target": "/devices/vd%ff%22", prefix + "status": "404",
            prefix + "caller": "uid %d" % os.getuid(), prefix + "request_id": "change-1"}
    call = {names(name): value for name, value in call.items()}
    expect(call.items() <= record.items(), "%s", record)
    expect(int(record[names(prefix + "duration_us")]) >= 0, "%s", record)


def test_json():
    records = [json.loads(line) for line in logged("json", "debug")]
    for record in records:
        expect(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record["at"]), "%s", record)
        expect(record["level"] in ("debug", "info", "warning") and record["message"], "%s", record)
    calls = [record for record in records if "method" in record]
    expect([(call["method"], call["level"]) for call in calls] == [("GET", "debug"), ("DELETE", "info")], "%s", calls)
    expect_fields(calls[1], str)
    expect("request_id" not in records[-1], "the end belongs to a request: %s", records[-1])


def wrapper(directory, journal):
    path = os.path.join(directory, "in-its-own-run")
    with open(path, "w") as script:
        script.write(WRAPPER.replace("SNAPGROUPD", SNAPGROUPD).replace("$JOURNAL", journal))
    os.chmod(path, stat.S_IRWXU)
    return path


def test_journal(directory):
    path = os.path.join(directory, "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        lines = logged("journal", "info", executable=wrapper(directory, directory))
        journal.setblocking(False)
        records = []
        try:
            while True:
                record = journal.recv(1 << 20).decode()
                records.append(dict(line.split("=", 1) for line in record.splitlines()))
        except BlockingIOError:
            pass
    expect(lines == [], "standard error has %s", lines)
    expect(all(record["SYSLOG_IDENTIFIER"] == "snapgroupd" for record in records), "%s", records)
    call, = [record for record in records if "SNAPGROUPD_METHOD" in record]
    expect(call["PRIORITY"] == "6" and call["MESSAGE"].startswith("DELETE "), "%s", call)
    expect_fields(call, str.upper, "snapgroupd_")
    os.unlink(path)
    lines = logged("journal", "info", executable=wrapper(directory, ""))
    expect(any(line.startswith("<6>DELETE ") for line in lines), "without journald: %s", lines)


def test():
    test_text()
    test_json()
    with Daemon() as unused:
        test_journal(unused.directory)


main(test)
