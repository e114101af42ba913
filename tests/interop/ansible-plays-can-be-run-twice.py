#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# A play over TLS with a token changes what it should, and in check mode nothing: no file, no row,
# no event. Its second run changes nothing, and neither does one over the Unix socket. Who has no
# valid token, or does not trust the daemon's certificate, is told so.
import os
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from collection import Collection, Host
from snapgroupd import Daemon, expect, main

SITE = """
- hosts: all
  gather_facts: false
  module_defaults:
    group/snapgroupd.storage.snapgroupd: "{{ connection }}"
  tasks:
    - snapgroupd.storage.device: {name: "{{ item }}", image: "{{ item }}.qcow2", format: qcow2, size_bytes: 1048576, labels: {app: db}}
      loop: [vda, vdb]
      tags: disks
    - snapgroupd.storage.snapshot_group: {name: before, selector: {app: db}, labels: {run: 1}, holds: [play]}
      tags: groups
    - snapgroupd.storage.snapshot_group_rollback: {group: before, name: after}
    - snapgroupd.storage.clone: {name: vda-test, group: before, device: vda}
    - snapgroupd.storage.token: {name: reader, scope: read}
      no_log: true
    - snapgroupd.storage.snapshot_group_info: {kind: rollback}
      register: found
    - ansible.builtin.assert: {that: "(found.snapshot_groups | map(attribute='name') | list) == ['after']"}
      when: not ansible_check_mode
"""
CHANGES = 5  # two disks are one task


def database(daemon):
    connection = sqlite3.connect("file:%s/snapgroupd.db?mode=ro" % daemon.state, uri=True)
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


def run_twice(collection, daemon, connection):
    host = Host(collection, daemon)
    collection.playbook(SITE, "--tags", "disks", "-e", connection).expect(changed=1)
    before = host.trace(), database(daemon)
    checked = collection.playbook(SITE, "--check", "--diff", "--tags", "disks,groups", "-e", connection).expect(changed=1)
    expect((host.trace(), database(daemon)) == before, "check mode has changed something")
    expect('"backing_file"' in checked.text, "no members are shown: %s", checked.text)
    collection.playbook(SITE, "-e", connection).expect(changed=CHANGES - 1)


def refused_connections(host, daemon, url, token, pki):
    reader = daemon.create_token("looks", "read")
    options = dict(socket=None, url=url, ca_path=pki + "/ca-cert.pem", retry_for=0)
    for more, text in ((dict(), "Unauthorized"), (dict(token="sgt_" + "x" * 43), "Unauthorized"),
                       (dict(token=token, ca_path=pki + "/other-cert.pem"), "CERTIFICATE_VERIFY_FAILED"),
                       (dict(token=token, url=url.replace("https", "http")), "https")):
        result = host("device_info", **{**options, **more})
        expect(result["failed"] and text in result["msg"], "%s: %s", more, result["msg"])
    expect(not host("device_info", token=" %s\n" % reader, **options).get("failed"), "a reader may not look")
    denied = host("token", token=reader, name="more", scope="admin", **options)
    expect(denied["problem"]["code"] == "InsufficientScope", "%s", denied)
    expect(not host("device_info", token=token, **{**options, "ca_path": None, "validate_certs": False}).get("failed"), "it is checked")


def test():
    with Collection() as collection, Daemon() as daemon:
        pki = daemon.listen_on_tls()
        daemon.start()
        token = daemon.create_token("plays", "admin")
        url = "https://localhost:" + next(line for line in daemon.said.splitlines() if line.startswith("api tls:")).rsplit(":", 1)[1]
        tls = "{connection: {url: '%s', token: '%s', ca_path: '%s/ca-cert.pem'}}" % (url, token, pki)
        run_twice(collection, daemon, tls)
        unix = "{connection: {socket: '%s/api.sock'}}" % daemon.runtime
        collection.playbook(SITE, "-e", unix).expect(changed=0)
        refused_connections(Host(collection, daemon), daemon, url, token, pki)


main(test)
