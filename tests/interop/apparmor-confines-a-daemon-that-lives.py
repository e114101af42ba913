#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
# label: slow
# timeout: 1800
#
# Under the AppArmor profile, enforced by the kernel of a guest, the daemon does all that it does
# (lib/short-life.sh), and is denied nothing; a directory of images that the profile has not is
# refused, and logged. The profile of the package only logs; it is this one but for that.
import os
import shutil
import sys
import tempfile
import types

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from ctl import SNAPGROUPCTL
from guest import Guest
from snapgroupd import SNAPGROUPD, SOURCE_DIR, expect, main, run

PROFILE = os.path.join(SOURCE_DIR, "deploy", "apparmor", "usr.bin.snapgroupd")


def policy(directory):
    """The profile as the kernel reads it, enforced."""
    with open(PROFILE, encoding="utf-8") as file:
        text = file.read()
    expect(" flags=(complain) {" in text, "the profile is not in complain mode")
    enforced, binary = os.path.join(directory, "profile"), os.path.join(directory, "policy")
    with open(enforced, "w", encoding="utf-8") as file:
        file.write(text.replace(" flags=(complain) {", " {"))
    run("apparmor_parser", "--skip-cache", "--skip-kernel-load", "--ofile", binary, enforced)
    return binary


def test():
    directory = tempfile.mkdtemp(prefix="sg.")
    try:
        pki = os.path.join(directory, "pki")
        run(os.path.join(SOURCE_DIR, "tests", "lib", "certificates.sh"), pki)
        files = {"/usr/bin/snapgroupd": SNAPGROUPD, "/usr/bin/snapgroupctl": SNAPGROUPCTL, "/usr/bin/nbdcopy": shutil.which("nbdcopy"),
                 "/usr/bin/setpriv": shutil.which("setpriv"), "/profile": policy(directory),
                 "/short-life.sh": os.path.join(SOURCE_DIR, "tests", "lib", "short-life.sh"),
                 **{"/etc/snapgroupd/pki/" + name: os.path.join(pki, "server", name) for name in os.listdir(pki + "/server")}}
        said = []
        with Guest(types.SimpleNamespace(directory=directory), "confined", {}, said.append, files=files) as guest:
            guest.await_end()
        expect(said[0] == "loaded snapgroupd (enforce)", "the guest says %s", said)
        expect(said.count("runs as snapgroupd (enforce)") == 2, "the daemon is not confined: %s", said)
        wrong = [line for line in said if line.startswith(("denied", "allowed", "the daemon ends"))]
        expect(not wrong, "the guest says:\n%s", "\n".join(said))
        expect("logged 0" not in said and said[-2].startswith("logged "), "what is outside: %s", said)
    finally:
        shutil.rmtree(directory)


main(test)
