#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: once
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

os.environ.setdefault("CRASH_STRIDE", "7")  # 1: every call
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from deletewalk import DEVICES, SIZE_BYTES, Delete
from killwalk import daemon_with_jobs_alone, jobs_of, kill_walks
from snapgroupd import main
from strace import served_by


def kill_deletes(prefix, is_newest):
    with daemon_with_jobs_alone() as daemon:
        daemon.start_with(DEVICES, SIZE_BYTES)
        delete = Delete(daemon, prefix, is_newest)
        kill_walks(daemon, 202, delete, served_by, jobs_of)


def test():
    kill_deletes("older", False)
    kill_deletes("newest", True)


main(test)
