#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
# label: slow
#
# EXAMPLES of each module succeed as they are written, and so does the play of docs/ansible.md,
# whose second run changes nothing.
import os
import re
import sys

import yaml

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from collection import MODULES, Collection
from snapgroupd import SOURCE_DIR, Daemon, expect, main

MIB = 1 << 20


def task(module, **options):
    return {"snapgroupd.storage." + module: options}


BOTH = [{"device": "vda"}, {"device": "vdb"}]
# What has to be there before the examples of a module, in this order.
BEFORE = {
    "device": [], "device_info": [],
    "snapshot_group": [task("device", name="vdb", image="vdb.raw", format="raw", size_bytes=MIB, labels={"app": "db"})],
    "snapshot_group_info": [], "snapshot_group_rollback": [task("snapshot_group", name="before-upgrade", state="absent"),
                                                           task("snapshot_group", name="before-upgrade", devices=BOTH)],
    "clone": [], "snapshot_group_extents_info": [task("snapshot_group", name="monday", devices=BOTH),
                                                 task("snapshot_group", name="tuesday", devices=BOTH)],
    "job_info": [], "token": []}


def examples_run(collection, modules, socket):
    expect(set(BEFORE) == set(MODULES), "not all modules are tried: %s", MODULES)
    tasks = []
    for module, before in BEFORE.items():
        examples = yaml.safe_load(modules[module].EXAMPLES)
        expect(any("snapgroupd.storage." + module in yaml.safe_dump(one) for one in examples), "%s has no example", module)
        tasks += before + examples
    # The migration of the example fails, so that its rescue runs.
    text = yaml.safe_dump(play(tasks, socket)).replace("/bin/true", "/bin/false").replace("~", collection.directory)
    done = collection.playbook(text)
    expect(done.status == 0 and done.sum("rescued") == 1, "%s", done.text)
    expect(os.path.getsize(os.path.join(collection.directory, "dashboard.token")) > 40, "the secret is not stored")


def play(tasks, socket):
    return [{"hosts": "all", "gather_facts": False, "tasks": tasks,
             "module_defaults": {"group/snapgroupd.storage.snapgroupd": {"socket": socket}}}]


def blocks(path):
    with open(os.path.join(SOURCE_DIR, path), encoding="utf-8") as file:
        found = re.findall(r"(?:^    .*\n|^\n)+", file.read(), re.M)
    return ["".join(line[4:] if line.strip() else "\n" for line in block.splitlines(True)) for block in found if block.strip()]


def page_runs(collection, socket):
    text = next(block for block in blocks("docs/ansible.md") if block.lstrip().startswith("- hosts: storage-1"))
    text = re.sub(r"socket: .*", "socket: " + socket, text)
    first = collection.playbook(text, "--diff", inventory="storage-1 ansible_connection=local\n")
    expect(first.status == 0 and first.sum("changed") >= 3, "%s", first.text)
    collection.playbook(text, inventory="storage-1 ansible_connection=local\n").expect(changed=0)


def test():
    with Collection() as collection, Daemon() as daemon:
        daemon.start()
        socket = os.path.join(daemon.runtime, "api.sock")
        examples_run(collection, {name: collection.imported(name) for name in MODULES}, socket)
        page_runs(collection, socket)


main(test)
