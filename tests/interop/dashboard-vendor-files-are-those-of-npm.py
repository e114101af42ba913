#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Every file in clients/dashboard/vendor is, to the byte, that of the package of npm whose version
# and checksum tests/lib/dashboard/package-lock.json has; npm has compared the checksum when it
# installed it. Each package has its licence beside it.
import filecmp
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from browser import MODULES
from snapgroupd import SOURCE_DIR, expect, main

VENDOR = os.path.join(SOURCE_DIR, "clients/dashboard/vendor")
PINS = os.path.join(SOURCE_DIR, "tests/lib/dashboard/package-lock.json")
PACKAGES = {"preact": "preact", "htm": "htm", "uplot": "uplot", "pico": "@picocss/pico"}


def test():
    expect(os.path.isdir(MODULES), "%s is missing: run deploy/install-packages.sh test", MODULES)
    with open(PINS, encoding="utf-8") as pins:
        pinned = json.load(pins)["packages"]
    expect(sorted(os.listdir(VENDOR)) == sorted(PACKAGES), "vendor has %s", os.listdir(VENDOR))
    for name, package in PACKAGES.items():
        entry = pinned["node_modules/" + package]
        with open(os.path.join(MODULES, package, "package.json"), encoding="utf-8") as text:
            expect(json.load(text)["version"] == entry["version"], "%s is installed in another version", package)
        expect(entry["integrity"].startswith("sha512-"), "%s has no checksum", package)
        expect(any(file.startswith("LICENSE") for file in os.listdir(os.path.join(VENDOR, name))), "%s: no licence", name)
        for folder, _, files in os.walk(os.path.join(VENDOR, name)):
            for file in files:
                ours = os.path.join(folder, file)
                theirs = os.path.join(MODULES, package, os.path.relpath(ours, os.path.join(VENDOR, name)))
                expect(os.path.exists(theirs) and filecmp.cmp(ours, theirs, shallow=False), "%s is not %s", ours, theirs)


main(test)
