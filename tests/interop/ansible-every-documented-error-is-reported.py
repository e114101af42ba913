#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
# label: slow
#
# Every error that the contract documents for the call of a module is reported by it, as it is: with
# its code, its status, and its text, in which nothing is evaluated.
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import openapi
from collection import Collection, Host, expect_result
from scripted import Scripted, Server, problem
from snapgroupd import Daemon, expect, main

BOTH = [{"device": "vda"}, {"device": "vdb"}]


def documented(method, path):
    """(status, code) of every error that the contract has for a call."""
    for status, response in openapi.operations()[method, path][1]["responses"].items():
        text = openapi.resolve(response)["description"]
        for code in re.findall(r"`([A-Z]\w+)`", text):
            if code in openapi.SPEC["components"]["schemas"]["ErrorCode"]["enum"] and status[0] in "45":
                yield int(status), code


# The call that fails, after nothing was found.
CALLS = {
    "device": ("POST", "/devices", dict(name="x", image="x", format="raw")),
    "device_info": ("GET", "/devices", {}),
    "clone": ("POST", "/devices", dict(name="x", group="g", device="d")),
    "snapshot_group": ("POST", "/snapshot-groups", dict(name="x", devices=BOTH)),
    "snapshot_group_info": ("GET", "/snapshot-groups", {}),
    "snapshot_group_rollback": ("POST", "/snapshot-groups/{id}/rollbacks", dict(group="x")),
    "snapshot_group_extents_info": ("GET", "/snapshot-groups/{id}/members/{device}/extents", dict(group="x", device="d")),
    "job_info": ("GET", "/jobs", {}),
    "token": ("POST", "/tokens", dict(name="x", scope="read")),
}


def documented_errors(host, server, path):
    count = 0
    for module, (method, operation, options) in CALLS.items():
        for status, code in documented(method, operation):
            def script(sent, _):
                return problem(status, code) if sent == method else problem(404, "DeviceNotFound")
            server.script = script
            result = expect_result(host(module, socket=path, **options), code=code, changed=False, status=status)
            expect(result["msg"].startswith(code) and "{{ 7*7 }}" in result["msg"], "%s", result)
            count += 1
    expect(count > 100, "only %d errors are documented", count)


def test():
    with Collection() as collection, Daemon() as daemon:
        daemon.start()
        host = Host(collection, daemon)
        server = Server(os.path.join(daemon.directory, "scripted.sock"), Scripted)
        documented_errors(host, server, server.path)
        server.close()


main(test)
