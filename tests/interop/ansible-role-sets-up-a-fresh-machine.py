#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# The role `server` on a fresh Debian 12 with systemd: it installs the package, configures the
# daemon, TLS and the unit, starts it, and makes a token, with which a disk is made over TLS, in a
# directory that the unit had not let the daemon write to. A second run changes nothing. Check mode
# touches nothing, neither on the fresh machine nor later. A reload keeps the daemon; what it
# refuses is not put in place.
import os
import stat
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from booted import Booted
from collection import Collection
from debian import build_packages, own_machine
from snapgroupd import SOURCE_DIR, expect, main, run

# What stands for ssh: the options that Ansible gives it, the host, and a command for its shell.
SSH = """#!/bin/bash
while [[ "$1" = -* ]]; do
    [[ "$1" = -[oFlpi] ]] && shift
    shift
done
exec %s sh -c "${*:2}"
"""
# Not those of Ansible itself, of logs, and of caches.
ALL_FILES = """find / -xdev \\( -path /tmp -o -path /var/log -o -path /root/.ansible -o -path /var/cache/ldconfig \\) -prune \
    -o -printf '%p %y %s %T@ %m %u:%g\\n' | sort"""


class Machine:
    """The fresh machine, as a host of Ansible."""

    def __init__(self, collection, debian, package):
        self.collection, self.debian = collection, debian
        self.pki = collection.directory + "/pki"
        self.token = collection.directory + "/token"
        run(os.path.join(SOURCE_DIR, "tests", "lib", "certificates.sh"), self.pki)
        ssh = collection.directory + "/ssh"
        with open(ssh, "w", encoding="utf-8") as script:
            script.write(SSH % " ".join(debian.command()))
        os.chmod(ssh, 0o755)
        self.inventory = ("fresh ansible_connection=ssh ansible_ssh_executable=%s ansible_ssh_transfer_method=piped "
                          "ansible_ssh_pipelining=true ansible_ssh_args='' ansible_remote_tmp=/tmp/ansible\n" % ssh)
        self.variables = {
            "snapgroupd_server_package": package,
            "snapgroupd_server_tls_cert": self.pki + "/server/server-cert.pem",
            "snapgroupd_server_tls_key": self.pki + "/server/server-key.pem",
            "snapgroupd_server_options": {"listen": ["unix:/run/snapgroupd/api.sock", "tls:127.0.0.1:0"], "log-level": "info"},
            "snapgroupd_server_tokens": [{"name": "plays", "scope": "admin", "file": self.token}]}

    def play(self, *arguments):
        return self.collection.playbook([{"hosts": "all", "gather_facts": False, "vars": self.variables,
                                          "roles": [{"role": "snapgroupd.storage.server"}]}], *arguments, inventory=self.inventory)

    def change(self, options, **more):
        self.variables = {**self.variables, "snapgroupd_server_options": {**self.variables["snapgroupd_server_options"], **options},
                          **{"snapgroupd_server_" + name: value for name, value in more.items()}}

    def trace(self):
        """All that a play may change."""
        units = self.debian.run("systemctl show --property=MainPID,ActiveState,UnitFileState,NRestarts snapgroupd")
        return self.debian.run(ALL_FILES).splitlines(), units, os.path.exists(self.token)

    def check(self, **counters):
        """Check mode touches nothing."""
        before = self.trace()
        self.play("--check", "--diff").expect(failed=0, unreachable=0, **counters)
        after = self.trace()
        changed = sorted(set(before[0]) ^ set(after[0]))
        expect(before == after, "check mode has changed %s, %s, %s", changed[:20], before[1:], after[1:])

    def run_twice(self):
        done = self.play().expect(failed=0, unreachable=0)
        expect(done.sum("changed") > 0, "nothing has changed: %s", done.text)
        before = self.trace()
        self.play().expect(changed=0, failed=0)
        expect(self.trace()[1:] == before[1:], "the second run has started the daemon again")

    def pid(self):
        expect(self.debian.run("systemctl is-enabled snapgroupd && systemctl is-active snapgroupd") == "enabled\nactive\n",
               "the unit is not enabled and active")
        return self.debian.run("systemctl show --property=MainPID --value snapgroupd")

    def module(self, module, /, **options):
        """A module that the controller runs, over TLS, with the token."""
        with open(self.token, encoding="utf-8") as file:
            token = file.read().strip()
        port = [line for line in self.debian.journal().splitlines() if line.startswith("api tls:")][-1].rsplit(":", 1)[1]
        return self.collection.module(module, url="https://localhost:" + port, token=token, ca_path=self.pki + "/server/ca-cert.pem",
                                      **options)


def fresh(machine):
    machine.check()
    machine.run_twice()
    expect(stat.S_IMODE(os.stat(machine.token).st_mode) == 0o600, "others may read the token")
    looked = machine.module("device_info")
    expect(looked.get("devices") == [], "%s", looked)
    machine.check(changed=0)


def reloaded(machine):
    pid = machine.pid()
    machine.change({"log-level": "warning"})
    machine.check()
    machine.run_twice()
    expect(machine.pid() == pid, "a reload has started another daemon")


def widened(machine):
    machine.debian.run("install -d -o snapgroupd -g snapgroupd -m 700 /srv/images")
    pid = machine.pid()
    machine.change({"image-dir": "/srv/images", "log-level": "info"}, write_paths=["/srv/images"], on_change="restart")
    machine.check()
    machine.run_twice()
    expect(machine.pid() != pid, "the daemon was not started again")
    made = machine.module("device", name="vda", image="vda.qcow2", format="qcow2", size_bytes=64 << 20)
    expect(made.get("changed"), "%s", made)
    machine.debian.run("test -f /srv/images/vda.qcow2")


def refused(machine):
    before = machine.trace()
    machine.change({"log-level": "loud"})
    played = machine.play()
    expect(played.status != 0 and "loud" in played.text, "%s", played.text)
    expect(machine.trace()[1:] == before[1:], "the daemon was started again")
    machine.debian.run("! grep loud /etc/snapgroupd/snapgroupd.conf")


def test():
    with Collection() as collection, Booted(packages=["python3", "python3-apt"]) as debian:
        packages = build_packages(os.path.join(debian.directory, "packages"))
        machine = Machine(collection, debian, [path for path in packages if "/snapgroupd_" in path][0])
        for part in (fresh, reloaded, widened, refused):
            part(machine)


own_machine()
main(test)
