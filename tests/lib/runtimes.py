# SPDX-License-Identifier: Apache-2.0
"""Where a benchmark's daemon has its runtime directory: in memory, as it is meant to be, or on a
disk.

    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(Daemon())
        use_memory_runtime(stack, daemon)      before start()
"""
import tempfile

from snapgroupd import expect, run

MEMORY = "/dev/shm"


def file_system_of(path):
    return run("stat", "--file-system", "--format=%T", path).strip()


def use_memory_runtime(stack, daemon):
    expect(file_system_of(MEMORY) == "tmpfs", "%s is no tmpfs", MEMORY)
    daemon.runtime = stack.enter_context(tempfile.TemporaryDirectory(prefix="sg.", dir=MEMORY))
