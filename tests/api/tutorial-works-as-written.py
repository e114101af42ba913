#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Each command of docs/tutorial.md succeeds as it is written, and prints what is written, but for
# the directories, which are this test's. Packages are left out here: the same on a fresh Debian,
# with them, is interop/package-works-on-a-fresh-machine.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from filesystems import own_mounts
from snapgroupd import BUILD_DIR, SOURCE_DIR, Daemon, expect, main
from tutorial import Shell, follow, transcript


def test():
    commands = transcript(os.path.join(SOURCE_DIR, "docs", "tutorial.md"))
    expect(len(commands) > 20, "the tutorial has %d commands", len(commands))
    with Daemon() as daemon:
        daemon.start()
        srv = os.path.join(daemon.directory, "srv")
        os.mkdir(srv)

        def mine(text):
            return text.replace("/run/snapgroupd", daemon.runtime).replace("/srv", srv)

        os.environ["SNAPGROUPCTL_SOCKET"] = os.path.join(daemon.runtime, "api.sock")
        os.environ["PATH"] = BUILD_DIR + ":" + os.environ["PATH"]
        shell = Shell()
        follow(shell, [(mine(command), [mine(line) for line in lines]) for command, lines in commands
                       if not command.startswith("apt-get") and "/var/lib/" not in command])
        shell.close()


own_mounts()
main(test)
