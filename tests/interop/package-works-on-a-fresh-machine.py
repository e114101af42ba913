#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# On a fresh Debian 12 deploy/build-deb.sh builds the packages and runs their unit tests; lintian
# finds nothing. On another, which has never seen the tree and where systemd runs, docs/tutorial.md
# works as it is written, from the installation to the purge, which keeps images and database.
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from booted import Booted
from debian import Debian, bootstrap, own_machine, packages_in, tool, tree_archive
from snapgroupd import SOURCE_DIR, expect, main
from tutorial import Shell, follow, transcript


def build(base, directory):
    """Builds the packages on a machine of their own, into the directory."""
    with Debian(base) as debian:
        tree_archive(debian.path("/root/tree.tar"))
        debian.run("mkdir /root/tree && tar -C /root/tree -xf /root/tree.tar")
        print(debian.run("cd /root/tree && deploy/build-deb.sh /root/packages")[-2000:])
        debian.run("cd /root && test ! -e tree/build && tar --diff --file tree.tar --directory tree")
        packages = packages_in(debian.path("/root/packages"))
        expect(packages, "no package was built")
        tool("cp", *packages, directory)


def use(directory):
    """Follows the tutorial on another machine."""
    commands = transcript(os.path.join(SOURCE_DIR, "docs", "tutorial.md"))
    with Booted() as debian:
        debian.copy_in(packages_in(directory))
        shell = Shell(*debian.command())
        follow(shell, [("cd /root", []), *commands])
        shell.close()
        left = debian.run("ls -d /var/lib/snapgroupd /run/snapgroupd /etc/snapgroupd /etc/apparmor.d/*snapgroupd* 2>/dev/null || true")
        expect(left == "", "the purge leaves %s", left)
        expect(debian.run("systemctl list-units --no-legend --all snapgroupd.service || true") == "", "the purge leaves the daemon")


def test():
    with tempfile.TemporaryDirectory(prefix="sg.") as directory:
        built = os.environ.get("SNAPGROUPD_PACKAGES")
        if not built:
            build(bootstrap(directory), directory)
        use(built or directory)


own_machine()
main(test)
