#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# changelogs/changelog.yaml of the collection, in the format of antsibull-changelog, ends with the
# version of galaxy.yml; its releases together have every module and role, as their documentation
# describes them. CHANGELOG.rst is what antsibull-changelog makes of it. Both are in the archive
# that ansible-galaxy builds, as is meta/runtime.yml. Debian 12 does not have antsibull-changelog.
import os
import subprocess
import sys
import tarfile

import yaml

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from collection import MODULES, SOURCE, Collection
from snapgroupd import expect, main


def load(*path):
    with open(os.path.join(SOURCE, *path), encoding="utf-8") as file:
        return yaml.safe_load(file)


def text(*path):
    with open(os.path.join(SOURCE, *path), encoding="utf-8") as file:
        return file.read()


def number(version):
    return [int(part) for part in version.split(".")]


def heading(title, line):
    return [title, line * len(title), ""]


def new_objects(title, objects):
    if not objects:
        return []
    lines = ["- snapgroupd.storage.%s - %s" % (each["name"], each["description"]) for each in objects]
    return [*heading(title, "-"), *lines, ""]


def rendered(changelog, config):
    """CHANGELOG.rst: the newest release first, its sections in the order of the configuration."""
    title = config["title"] + " Release Notes"
    lines = ["=" * len(title), title, "=" * len(title), "", ".. contents:: Topics", ""]
    for version in sorted(changelog["releases"], key=number, reverse=True):
        release = changelog["releases"][version]
        changes = release.get("changes", {})
        lines += ["", *heading("v" + version, "=")]
        if "release_summary" in changes:
            lines += [*heading("Release Summary", "-"), changes["release_summary"], ""]
        for key, name in config["sections"]:
            if key in changes:
                lines += [*heading(name, "-"), *("- " + change for change in sorted(changes[key])), ""]
        lines += new_objects("New Modules", release.get("modules"))
        lines += new_objects("New Roles", release.get("objects", {}).get("role"))
    return "\n".join(lines)


def expect_named(releases, collection):
    found = {each["name"]: each["description"] for release in releases for each in release.get("modules", [])}
    wanted = {name: yaml.safe_load(collection.imported(name).DOCUMENTATION)["short_description"] for name in MODULES}
    expect(found == wanted, "modules: %s, and documented: %s", found, wanted)
    found = {each["name"]: each["description"] for release in releases for each in release.get("objects", {}).get("role", [])}
    wanted = {name: load("roles", name, "meta", "argument_specs.yml")["argument_specs"]["main"]["short_description"]
              for name in os.listdir(os.path.join(SOURCE, "roles"))}
    expect(found == wanted, "roles: %s, and documented: %s", found, wanted)


def expect_archived(collection):
    built = subprocess.run(["ansible-galaxy", "collection", "build", "--output-path", collection.directory, collection.path],
                           env=collection.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    expect(built.returncode == 0, "%s%s", built.stdout, built.stderr)
    name = next(name for name in os.listdir(collection.directory) if name.endswith(".tar.gz"))
    with tarfile.open(os.path.join(collection.directory, name)) as archive:
        missing = {"CHANGELOG.rst", "changelogs/changelog.yaml", "changelogs/config.yaml", "meta/runtime.yml"} - set(archive.getnames())
    expect(not missing, "the archive lacks %s", missing)


def test():
    changelog, config = load("changelogs", "changelog.yaml"), load("changelogs", "config.yaml")
    sections = {key for key, _ in config["sections"]} | {"release_summary"}
    for version, release in changelog["releases"].items():
        expect(set(release) <= {"changes", "modules", "objects", "plugins", "fragments", "release_date"}, "%s has %s", version, release)
        expect(set(release.get("changes", {})) <= sections, "%s has other sections", version)
    expect(max(changelog["releases"], key=number) == load("galaxy.yml")["version"], "the version of galaxy.yml is not the newest")
    expect(rendered(changelog, config) == text("CHANGELOG.rst"), "CHANGELOG.rst is not made of it; it is:\n%s", rendered(changelog, config))
    with Collection() as collection:
        expect_named(changelog["releases"].values(), collection)
        expect_archived(collection)


main(test)
