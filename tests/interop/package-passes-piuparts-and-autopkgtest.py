#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# piuparts installs, removes and purges the packages on a fresh Debian 12, and once more, and finds
# no file that was left or changed. autopkgtest runs deploy/debian/tests there: the steps of the
# quick start, with the daemon of the package.
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from debian import RELEASE, Debian, bootstrap, build_packages, own_machine, tool, tree_archive
from snapgroupd import expect, main


# systemd, which comes along, makes these on a machine that has never had it, and leaves them.
OF_SYSTEMD = [r"/root/\.ssh", "/var/cache/private", "/var/lib/private", "/var/lib/systemd/coredump",
              "/var/lib/systemd/pstore", "/var/log/private"]


def piuparts(base, directory, packages):
    """The base has the sources of this machine's apt."""
    archive = os.path.join(directory, "piuparts.tar.gz")
    tool("sh", "-c", "gzip --fast <%s >%s" % (base, archive))
    for more in ([], ["--install-purge-install"]):
        said = tool("piuparts", "--basetgz", archive, "--distribution", RELEASE, "--keep-sources-list",
                    "--no-check-valid-until", "--no-eatmydata", "--tmpdir", directory,
                    *("--ignore-regex=%s/?" % path for path in OF_SYSTEMD), *more, *packages)
        expect("PASS: All tests." in said, "piuparts: %s", said[-4000:])


def autopkgtest(base, packages):
    with Debian(base) as debian:
        tree = os.path.join(debian.directory, "tree")
        os.mkdir(tree)
        tree_archive(os.path.join(debian.directory, "tree.tar"))
        tool("tar", "--extract", "--file", os.path.join(debian.directory, "tree.tar"), "--directory", tree)
        tool("cp", "--recursive", os.path.join(tree, "deploy", "debian"), os.path.join(tree, "debian"))
        said = tool("autopkgtest", "--no-built-binaries", "--apt-upgrade", *packages, tree, "--", "chroot", debian.root)
        expect("quickstart           PASS" in said, "autopkgtest: %s", said[-4000:])
        expect("Both are identical, to the byte." in said, "the quick start was not run: %s", said[-4000:])


def test():
    with tempfile.TemporaryDirectory(prefix="sg.") as directory:
        base = bootstrap(directory)
        packages = build_packages(os.path.join(directory, "packages"))
        autopkgtest(base, packages)
        piuparts(base, directory, packages)


own_machine()
main(test)
