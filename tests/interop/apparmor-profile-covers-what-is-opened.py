#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# Every file that the daemon opens, makes, links, renames or removes while it starts, serves disks,
# takes, rolls back and deletes groups, reads TLS keys, and stops, is one that the AppArmor profile
# allows, and in that way. Kernels without AppArmor can be tested, too: strace has the paths, and
# AppArmor's own Python code the rules. A path that no rule has is found.
import os
import re
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from apparmor.aare import AARE
from snapgroupd import SNAPGROUPD, SOURCE_DIR, Daemon, expect, main, run, wait_until

PROFILE = os.path.join(SOURCE_DIR, "deploy", "apparmor", "usr.bin.snapgroupd")
RULE = re.compile(r"^\s*(?:owner\s+)?(?:file\s+)?(\S*/\S*)\s+([rwmaklx]+),")
CALL = re.compile(r'^\d+\s+(\w+)\((.*)\)\s+= (-?\d+)(?:<([^>]*)>)?')
CALLS = "openat,openat2,open,mkdirat,mkdir,linkat,renameat2,renameat,rename,unlinkat,unlink,bind,connect"


def variables(text):
    """The profile's variables, each with its values."""
    values = {}
    for name, words in re.findall(r"^(@\{\w+\})\s*\+?=\s*(.*)$", text, re.M):
        values.setdefault(name, []).extend(word.strip('"') for word in words.split())
    return values


def expand(path, values):
    """The paths of a rule, one for each value of its variables."""
    found = re.search(r"@\{\w+\}", path)
    if not found:
        return [re.sub("//+", "/", path)]
    return [whole for value in values[found[0]] for whole in expand(path.replace(found[0], value), values)]


def rules():
    """(pattern, permissions) of each rule for files, those that are included too."""
    text = subprocess.run(["apparmor_parser", "--preprocess", PROFILE], capture_output=True, text=True, check=True).stdout
    text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    values = variables(text)
    found = [match.groups() for match in map(RULE.match, text.splitlines()) if match]
    return [(AARE(whole, True), permissions) for path, permissions in found if path[0] in "/@"
            for whole in expand(path, values)]


def wanted(line):
    """(path, permission) of each file that a traced call needs; strace -y has shown descriptors."""
    match = CALL.match(line)
    if not match or int(match[3]) < 0:
        return []
    name, arguments = match[1], match[2]
    if name in ("bind", "connect"):
        path = re.search(r'sun_path="([^"]+)"', arguments)
        return [(path[1], "w")] if path else []
    paths = [os.path.normpath(os.path.join(base or "/", path))
             for base, path in re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"', arguments)]
    if not name.startswith("open"):
        return [(path, "l" if name == "linkat" and path != paths[0] else "w") for path in paths]
    if paths[0].startswith("/proc/self/fd/"):  # the file behind it is judged
        paths = [match[4]]
    permissions = "w" if re.search(r"O_WRONLY|O_CREAT", arguments) else "rw" if "O_RDWR" in arguments else "r"
    permissions = "" if "O_PATH" in arguments else permissions
    return [(path, permission) for path in paths[:1] for permission in permissions]


def exercise(daemon):
    for name, kind in (("vda", "qcow2"), ("vdb", "raw")):
        daemon.create_device(name, kind, 8 << 20)
    for path, body in (("/snapshot-groups", {"name": "g", "devices": [{"device": "vda"}, {"device": "vdb"}]}),
                       ("/devices", {"name": "c", "from": {"group": "g", "device": "vda"}, "image": "c.qcow2"}),
                       ("/snapshot-groups/g/rollbacks", {"name": "back"}), ("/tokens", {"name": "t", "scope": "read"})):
        answer = daemon.request("POST", path, body)
        expect(answer.status == 201, "%s: %s", path, answer)
    handle = daemon.nbd("vda")
    handle.pwrite(b"x" * 4096, 0)
    handle.flush()
    handle.shutdown()
    expect(daemon.request("DELETE", "/snapshot-groups/back").status == 202, "the group is not deleted")
    wait_until(lambda: daemon.request("GET", "/jobs").body["items"][0]["state"] == "done", "the job is done")
    expect(daemon.request("DELETE", "/devices/c?files=delete").status == 204, "the clone is not deleted")


def as_installed(path, daemon):
    """Where a path of this test is on a machine with the package."""
    for mine, installed in ((daemon.runtime, "/run/snapgroupd"), (daemon.state, "/var/lib/snapgroupd/state"),
                            (daemon.images, "/var/lib/snapgroupd/images"), (daemon.directory + "/etc", "/etc/snapgroupd"),
                            (SNAPGROUPD, "/usr/bin/snapgroupd")):
        if path == mine or path.startswith(mine + "/"):
            return installed + path[len(mine):]
    return re.sub(r"^/proc/self/", "/proc/1/", path)


def uncovered(line, daemon, allowed):
    """What the call needs and no rule allows."""
    lacking = []
    for path, permission in wanted(line):
        path = as_installed(path, daemon)
        candidates = (path, path + "/")
        if not any(permission in permissions and any(pattern.match(name) for name in candidates)
                   for pattern, permissions in allowed):
            lacking.append("%s %s (%s)" % (permission, path, line.strip()[:150]))
    return lacking


def test():
    allowed = rules()
    expect(len(allowed) > 20, "the profile has %d rules", len(allowed))
    with Daemon() as daemon:
        trace = os.path.join(daemon.directory, "trace")
        keys = os.path.join(daemon.directory, "etc")
        run(os.path.join(SOURCE_DIR, "tests", "lib", "certificates.sh"), keys)
        traced = os.path.join(daemon.directory, "traced")
        with open(traced, "w", encoding="utf-8") as script:
            script.write('#!/bin/sh\nexec strace -D -f -y -s 4096 -o %s -e trace=%s %s "$@"\n' % (trace, CALLS, SNAPGROUPD))
        os.chmod(traced, 0o755)
        daemon.executable = traced
        daemon.arguments = ["--tls-cert-dir", keys + "/server", "--listen", "tls:127.0.0.1:0",
                            "--listen", "unix:%s/api.sock" % daemon.runtime]
        daemon.start()
        exercise(daemon)
        daemon.stop()
        with open(trace, encoding="utf-8", errors="replace") as lines:
            calls = list(lines)
        expect(sum(len(wanted(line)) for line in calls) > 50, "strace saw few calls: %s", "".join(calls[:20]))
        lacking = sorted({what for line in calls for what in uncovered(line, daemon, allowed)})
        expect(not lacking, "the profile lacks:\n%s", "\n".join(lacking))
        expect(uncovered('1 openat(AT_FDCWD</>, "/etc/shadow", O_RDONLY) = 3\n', daemon, allowed), "anything is allowed")


main(test)
