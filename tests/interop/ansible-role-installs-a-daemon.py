#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
# label: slow
#
# The role `server` puts a daemon, its options, TLS and units in place, which then serves, and makes
# tokens, whose secrets work. A second run changes nothing, and in check mode nothing is installed.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from collection import Collection, Host
from snapgroupd import SNAPGROUPD, SOURCE_DIR, Daemon, expect, main, run


def server_play(collection, daemon, tokens):
    return [{"hosts": "all", "gather_facts": False, "roles": [{"role": "snapgroupd.storage.server"}], "vars": {
        "snapgroupd_server_install": "files", "snapgroupd_server_executable": SNAPGROUPD,
        "snapgroupd_server_systemd_files": os.path.join(SOURCE_DIR, "deploy", "systemd"),
        "snapgroupd_server_bin_dir": daemon.directory + "/bin", "snapgroupd_server_unit_dir": daemon.directory + "/units",
        "snapgroupd_server_sysusers_dir": daemon.directory + "/sysusers", "snapgroupd_server_config_dir": daemon.directory + "/etc",
        "snapgroupd_server_group": "root", "snapgroupd_server_service": False,
        "snapgroupd_server_socket": daemon.runtime + "/api.sock",
        "snapgroupd_server_tls_cert": daemon.directory + "/pki/server/server-cert.pem",
        "snapgroupd_server_tls_key": daemon.directory + "/pki/server/server-key.pem",
        "snapgroupd_server_addresses": ["192.0.2.0/24"], "snapgroupd_server_write_paths": ["/srv/images"],
        "snapgroupd_server_options": {"listen": ["unix:" + daemon.runtime + "/api.sock", "tls:127.0.0.1:0"], "log-level": "warning",
                                      "idempotency-retention": 3600, "nbd-tls-verify-peer": False},
        "snapgroupd_server_tokens": [{"name": "plays", "scope": "admin", "file": collection.directory + "/token"}] if tokens else []}}]


def installed(collection, daemon):
    play = server_play(collection, daemon, False)
    collection.playbook(play, "--check")
    expect(not os.path.exists(daemon.directory + "/etc"), "check mode has installed something")
    collection.playbook(play).expect(failed=0, unreachable=0)
    collection.playbook(play).expect(changed=0)
    modes = {name: os.stat(os.path.join(daemon.directory, name)).st_mode & 0o777
             for name in ("bin/snapgroupd", "etc/pki", "etc/pki/server-key.pem", "units/snapgroupd.service.d/50-ansible.conf")}
    expect(list(modes.values()) == [0o755, 0o750, 0o640, 0o644], "%s", modes)
    wrong = [{**play[0], "vars": {**play[0]["vars"], "snapgroupd_server_options": {"log-level": "loud"}}}]
    refused = collection.playbook(wrong)
    expect(refused.status != 0 and "loud" in refused.text, "%s", refused.text)


def test():
    with Collection() as collection, Daemon() as daemon:
        pki = daemon.directory + "/pki"
        run(os.path.join(SOURCE_DIR, "tests", "lib", "certificates.sh"), pki)
        installed(collection, daemon)
        daemon.executable = daemon.directory + "/bin/snapgroupd"
        daemon.arguments = ["--config", daemon.directory + "/etc/snapgroupd.conf"]
        daemon.start()
        play = server_play(collection, daemon, True)
        collection.playbook(play).expect(changed=2)
        collection.playbook(play).expect(changed=0)
        with open(collection.directory + "/token", encoding="utf-8") as file:
            token = file.read()
        url = "https://localhost:" + next(line for line in daemon.said.splitlines() if line.startswith("api tls:")).rsplit(":", 1)[1]
        looked = Host(collection, daemon)("device_info", socket=None, url=url, token=token, ca_path=pki + "/ca-cert.pem")
        expect(looked.get("devices") == [], "%s", looked)


main(test)
