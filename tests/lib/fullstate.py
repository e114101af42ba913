# SPDX-License-Identifier: Apache-2.0
"""A state disk that is full, for scripts that called filesystems.own_mounts() first.

    small_state(daemon)             before start()
    fill_state(daemon, "other")     a device whose labels may be changed
    free_state(daemon)
"""
import os

from filesystems import fill
from snapgroupd import expect, run


def filler(daemon):
    return os.path.join(daemon.state, "filler")


def small_state(daemon):
    run("mount", "-t", "tmpfs", "-o", "size=3m", "none", daemon.state)


def fill_state(daemon, device):
    """Until what is left of the database's log is used up too."""
    fill(filler(daemon), 0)
    refused = 0
    while refused < 3:
        answer = daemon.request("PATCH", "/devices/" + device, {"labels": {"n": os.urandom(100).hex()}})
        expect(answer.status == 200 or answer.body["code"] == "StoreFailed", "%s", answer)
        refused += answer.status != 200


def free_state(daemon):
    os.unlink(filler(daemon))
