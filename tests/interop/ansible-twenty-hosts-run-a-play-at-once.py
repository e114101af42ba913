#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
# label: slow
# timeout: 1800
#
# 20 hosts of one ansible-playbook use a daemon at once, half over its Unix socket, half over TLS:
# each makes a disk, a group and a clone of its own, and all want one disk, one group and one
# rollback together, which one of them makes and the others find. The second run changes nothing.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from collection import Collection
from snapgroupd import Daemon, expect, main

HOSTS = 20
PLAY = """
- hosts: all
  gather_facts: false
  module_defaults: {group/snapgroupd.storage.snapgroupd: "{{ how }}"}
  tasks:
    - snapgroupd.storage.device: {name: "{{ item }}", image: "{{ item }}.raw", format: raw, size_bytes: 1048576}
      loop: [shared, "{{ inventory_hostname }}"]
    - snapgroupd.storage.snapshot_group: {name: shared, devices: [{device: shared}]}
    - snapgroupd.storage.snapshot_group: {name: "of-{{ inventory_hostname }}", devices: [{device: "{{ inventory_hostname }}"}]}
    - snapgroupd.storage.clone: {name: "{{ inventory_hostname }}-copy", group: "of-{{ inventory_hostname }}", device: "{{ inventory_hostname }}"}
    - snapgroupd.storage.snapshot_group_rollback: {group: shared, name: back}
"""


def inventory(daemon, pki):
    url = "https://localhost:" + next(line for line in daemon.said.splitlines() if line.startswith("api tls:")).rsplit(":", 1)[1]
    tls = {"url": url, "token": daemon.create_token("plays", "admin"), "ca_path": pki + "/ca-cert.pem", "retry_for": 300}
    unix = {"socket": daemon.runtime + "/api.sock", "retry_for": 300}
    hosts = {"host-%d" % number: {"ansible_connection": "local", "how": tls if number % 2 else unix} for number in range(HOSTS)}
    return {"all": {"hosts": hosts}}


def there(daemon):
    """What is there; not attempts that were too late, of which the daemon keeps a record."""
    return daemon.list("/devices"), [group for group in daemon.list("/snapshot-groups") if group["state"] != "aborted"]


def test():
    with Collection() as collection, Daemon() as daemon:
        pki = daemon.listen_on_tls()
        daemon.start()
        hosts = inventory(daemon, pki)
        first = collection.playbook(PLAY, "--forks", str(HOSTS), inventory=hosts)
        # Of each host one task each for disks, a group and a clone; what is shared is one host's.
        first.expect(changed=3 * HOSTS + 2, unreachable=0, failed=0)
        expect(len(first.recap) == HOSTS, "%d hosts have run", len(first.recap))
        lists = there(daemon)
        expect([len(each) for each in lists] == [2 * HOSTS + 1, HOSTS + 2], "there are others: %s", lists)
        collection.playbook(PLAY, "--forks", str(HOSTS), inventory=hosts).expect(changed=0, unreachable=0, failed=0)
        expect(there(daemon) == lists, "the second run has changed something")


main(test)
