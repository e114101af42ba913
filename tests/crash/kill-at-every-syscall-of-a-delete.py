#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# DELETE of a group killed at every call that changes something, of the thread that serves the
# request and of the one that runs the job: first of a group whose images have frozen ones above
# them, then of the newest, whose devices are cut first. After every kill each image is whole, and
# every chain, opened by path, gives what it gave. After every restart the job goes on by itself,
# or nothing had begun; then
#   - devices and the groups that are left read as before;
#   - the image directory has the files of the devices' chains and no others;
#   - the group is deleted, and nobody finds it by its name.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from deletewalk import DEVICES, SIZE_BYTES, Delete
from killwalk import kill_walk
from snapgroupd import Daemon, expect, main, wait_until
from strace import CHANGES, threads_named


class PatientConnection:
    """Its answer comes when the job has ended."""

    def __init__(self, connection):
        self.connection = connection

    def ask(self, method, path, body, **headers):
        answer = self.connection.ask(method, path, body, **headers)
        expect(answer.status == 202, "%s %s: %s", method, path, answer)
        wait_until(lambda: self.connection.ask("GET", answer.headers["Location"]).body["state"] not in
                   ("queued", "running"), "the job to end")
        return answer

    def close(self):
        self.connection.close()


def jobs_of(daemon):
    """A fresh connection and the id of the one thread that runs jobs."""
    named = threads_named(daemon.pid, "jobs")
    expect(len(named) == 1, "%d threads run jobs", len(named))
    return PatientConnection(daemon.connection()), named[0]


def kill_deletes(prefix, is_newest):
    with Daemon() as daemon:
        daemon.start()
        for device, image_format in DEVICES.items():
            daemon.create_device(device, image_format, SIZE_BYTES)
        delete = Delete(daemon, prefix, is_newest)
        steps = kill_walk(daemon, 202, delete, is_wanted=CHANGES.__contains__)
        kill_walk(daemon, 202, delete, jobs_of, steps, is_wanted=CHANGES.__contains__)


def test():
    kill_deletes("older", False)
    kill_deletes("newest", True)


main(test)
