# SPDX-License-Identifier: Apache-2.0
"""Where a benchmark's daemon has its runtime directory: in memory, as it is meant to be, or on a
disk.

    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(Daemon())
        use_memory_runtime(stack, daemon)      before start()
"""
import os
import tempfile

from snapgroupd import expect, run

MEMORY = "/dev/shm"
MEMORY_BYTES = 512 << 20


def file_system_of(path):
    return run("stat", "--file-system", "--format=%T", path).strip()


def use_memory():
    """A test of many steps, without power failures, has all its files in memory, if there is room
    and nobody says otherwise."""
    space = os.statvfs(MEMORY)
    if "TMPDIR" not in os.environ and file_system_of(MEMORY) == "tmpfs" and space.f_bavail * space.f_frsize > MEMORY_BYTES:
        tempfile.tempdir = MEMORY


def use_memory_runtime(stack, daemon):
    expect(file_system_of(MEMORY) == "tmpfs", "%s is no tmpfs", MEMORY)
    daemon.runtime = stack.enter_context(tempfile.TemporaryDirectory(prefix="sg.", dir=MEMORY))
