#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# `ansible-test sanity` finds nothing in the collection. It wants virtual environments filled from
# the network; they are made beforehand, by its own code, with Debian's packages in place of pip's.
# `changelog` wants antsibull-changelog, which Debian 12 does not have, only for fragments: there
# are none in a release, and ansible-changelog-names-what-is-new looks at the rest.
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from collection import PYTHON, Collection
from snapgroupd import expect, main

# Runs as a program of its own: the places depend on HOME, and on the directory it runs in.
PRIME = """
import sys, venv
import ansible_test._internal.commands.sanity as sanity
from ansible_test._internal.host_configs import NativePythonConfig
sanity.create_virtual_environment = lambda args, python, path: venv.create(path, system_site_packages=True, symlinks=True) or True
sanity.run_pip = lambda *arguments: None
python = NativePythonConfig(version="%d.%d" % sys.version_info[:2], path=sys.executable)
for name in ("ansible-doc", "changelog", "import", "pep8", "pylint", "runtime-metadata", "validate-modules", "yamllint"):
    sanity.create_sanity_virtualenv(None, python, name)
for name in ("import.module", "import.plugin"):
    sanity.create_sanity_virtualenv(None, python, name, minimize=True)
"""
# What must have run, whatever the version of ansible-test has besides.
EXPECTED = {"ansible-doc", "changelog", "compile", "ignores", "import", "no-assert", "pep8", "pylint", "runtime-metadata", "shebang",
            "validate-modules", "yamllint"}


def sanity(collection, *arguments):
    return subprocess.run(["ansible-test", "sanity", *arguments], cwd=collection.path, env=collection.environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)


def test():
    with Collection() as collection:
        del collection.environment["PYTHONPATH"]
        primed = subprocess.run([PYTHON, "-c", PRIME], cwd=collection.path, env=collection.environment, text=True, capture_output=True)
        expect(primed.returncode == 0, "the virtual environments are not made: %s", primed.stderr)
        done = sanity(collection, "--python", "%d.%d" % sys.version_info[:2])
        ran = {line.split('"')[1] for line in done.stdout.splitlines() if line.startswith("Running sanity test")}
        expect(done.returncode == 0 and EXPECTED <= ran, "%s", done.stdout)

        # It does look: two planted faults are found.
        path = os.path.join(collection.path, "plugins", "modules", "job_info.py")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("limit=dict(type='int')", "limit=dict( type='str')"))
        done = sanity(collection, "--python", "%d.%d" % sys.version_info[:2], "--test", "validate-modules", "--test", "pep8",
                      "plugins/modules/job_info.py")
        expect(done.returncode != 0 and "E201" in done.stdout and "doc-type-does-not-match-spec" in done.stdout, "%s", done.stdout)


main(test)
