#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 3600
#
# Under the unit of the package, as systemd enforces it, the daemon does all that it does
# (lib/short-life.sh): systemd refuses none of its system calls but two that libraries try. What it
# is not for is refused: an address that is not loopback's, and a directory of images elsewhere. It
# is restarted when it was killed, and started by its socket.
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from booted import Booted
from debian import build_packages, own_machine
from snapgroupd import SOURCE_DIR, expect, main, run, wait_until

# An address of the machine that is not one of "localhost".
ELSEWHERE = "192.0.2.1"
CONFIGURATION = """[snapgroupd]
tls-cert-dir = /etc/snapgroupd/pki
listen = unix:/run/snapgroupd/api.sock
listen = tls:0.0.0.0:7420
"""
# glibc starts threads by clone3 if it can, and libsystemd asks for a large buffer.
TRIED = re.compile(r"clone3\(|SO_SNDBUFFORCE")


def show(debian, name):
    return debian.run("systemctl show --property=%s --value snapgroupd" % name).strip()


def seen_from_here(debian):
    """The daemon's pid in this machine."""
    with open(os.path.join(debian.cgroup, "payload/system.slice/snapgroupd.service/cgroup.procs"), encoding="utf-8") as pids:
        return pids.read().strip()


def configure(debian):
    pki = os.path.join(debian.directory, "pki")
    run(os.path.join(SOURCE_DIR, "tests", "lib", "certificates.sh"), pki)
    debian.run("mkdir -p /etc/snapgroupd/pki")
    debian.copy_in([os.path.join(pki, "server", name) for name in os.listdir(pki + "/server")], "/etc/snapgroupd/pki")
    debian.copy_in([os.path.join(SOURCE_DIR, "tests", "lib", "short-life.sh")])
    debian.write("/etc/snapgroupd/snapgroupd.conf", CONFIGURATION)
    debian.run("chown -R snapgroupd:snapgroupd /etc/snapgroupd/pki && systemctl restart snapgroupd")


def confined(debian):
    with open("/proc/%s/status" % seen_from_here(debian), encoding="utf-8") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    found = [int(status["CapEff"], 16), int(status["CapBnd"], 16), status["NoNewPrivs"], status["Seccomp"]]
    expect(found == [0, 0, "1", "2"], "the daemon is not confined: %s", found)
    debian.run("systemd-analyze security --no-pager --threshold=15 snapgroupd")


def lives(debian):
    trace = os.path.join(debian.directory, "trace")
    strace = subprocess.Popen(["strace", "-f", "-e", "status=failed", "-o", trace, "-p", seen_from_here(debian)],
                              stderr=subprocess.PIPE, text=True)
    expect("attached" in strace.stderr.readline(), "strace does not see the daemon")
    print(debian.run(". /root/short-life.sh && live 'systemctl reload snapgroupd'"))
    strace.terminate()
    strace.communicate()
    with open(trace, encoding="utf-8", errors="replace") as lines:
        refused = [line for line in lines if re.search(r"= -1 (EPERM|ENOSYS)", line) and not TRIED.search(line)]
    expect(not refused, "systemd refuses %s", "".join(refused))
    debian.run("systemctl restart snapgroupd && . /root/short-life.sh && live_on")
    errors = debian.run("journalctl --quiet --priority=warning --unit=snapgroupd")
    expect(errors == "", "the journal has %s", errors)


def addresses(debian):
    debian.run("ip address add %s/32 dev lo" % ELSEWHERE)
    ask = "curl -sS --cacert /etc/snapgroupd/pki/ca-cert.pem --max-time %d --connect-to localhost:7420:%s:7420 https://localhost:7420/readyz"
    expect("ready" in debian.run(ask % (60, "127.0.0.1")), "loopback is refused")
    said = debian.fails(ask % (3, ELSEWHERE))
    expect("timed out" in said.lower(), "curl says %s", said)


def directories(debian):
    debian.run("install -d -o snapgroupd -g snapgroupd /srv/images")
    debian.write("/etc/default/snapgroupd", "SNAPGROUPD_IMAGE_DIR=/srv/images\n")
    debian.run("systemctl restart snapgroupd")
    said = debian.fails("snapgroupctl device create elsewhere --size 1M")
    expect("Read-only file system" in said, "snapgroupctl says %s", said)
    debian.run("rm /etc/default/snapgroupd && systemctl restart snapgroupd")


def starts_again(debian):
    before = show(debian, "MainPID")
    debian.run("systemctl kill --signal=KILL --kill-whom=main snapgroupd")
    wait_until(lambda: show(debian, "NRestarts") == "1" and show(debian, "ActiveState") == "active", "the daemon is restarted")
    expect(show(debian, "MainPID") not in ("0", before), "it is not another daemon")
    # An address that systemd has is not one to listen on, too.
    debian.write("/etc/snapgroupd/snapgroupd.conf", CONFIGURATION.replace("listen = unix:/run/snapgroupd/api.sock\n", ""))
    debian.run("systemctl stop snapgroupd && systemctl start snapgroupd.socket && snapgroupctl status")
    expect(show(debian, "ActiveState") == "active", "the socket starts no daemon")


def test():
    with tempfile.TemporaryDirectory(prefix="sg.") as directory:
        packages = build_packages(directory)
        with Booted(["curl", "iproute2", "libnbd-bin"], packages, alone=True) as debian:
            configure(debian)
            for part in (confined, lives, addresses, directories, starts_again):
                part(debian)


own_machine()
main(test)
