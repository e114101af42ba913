#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Where the kernel gives no thread a list of groups, and a group, still are answered; whether their
# members can be used is not known (ready_to_use null). Once there is a thread it is, and the daemon
# ends as any other.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main
from strace import Strace, served_by

PATHS = ("/snapshot-groups", "/snapshot-groups/g")


def readiness(connection, path):
    answer = connection.ask("GET", path)
    expect(answer.status == 200, "GET %s: %s", path, answer)
    group = answer.body["items"][0] if path == PATHS[0] else answer.body
    return group["members"][0]["ready_to_use"]


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        daemon.snapshot("g", ["vda"])
        daemon.restart()  # no thread looked at anything yet
        connection, thread = served_by(daemon)
        output = os.path.join(daemon.directory, "strace")
        with Strace(thread, "inject=clone3:error=EAGAIN", output=output):
            for path in PATHS * 2:
                expect(readiness(connection, path) is None, "%s without a thread", path)
        daemon.restart()
        connection, thread = served_by(daemon)
        with Strace(thread, "inject=clone3:error=EAGAIN", output=output) as strace:
            expect(readiness(connection, PATHS[0]) is None, "without a thread")
        expect(strace.injected, "no thread was asked for")
        for path in PATHS:
            expect(readiness(connection, path) is True, "%s with a thread", path)


main(test)
