#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# An upgrade of the package leaves the daemon running: of two clients that write all the time, one
# of libnbd and one behind a QEMU with reconnect-delay, none gets an error, and a group is taken
# between the upgrade and the restart. A restart by hand then disconnects only the one that does
# not reconnect; nothing that was acknowledged is lost. With systemd the package itself restarts a
# daemon without clients, and no other. A purge keeps images and database, with which a later
# installation goes on.
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from debian import API, NBD, Debian, build_packages, own_machine, tool
from snapgroupd import Connection, checksums, expect, main, wait_until
from writers import Disk, start_writers, stop_writers

BYTES = 64 << 20
NEWER = "0.1.0-1+newer1"


class Server:
    """Where a writer finds its export."""

    def __init__(self, path):
        self.path = path

    def nbd(self, name):
        import nbd
        handle = nbd.NBD()
        handle.connect_uri("nbd+unix:///%s?socket=%s" % (name, self.path))
        return handle


def repack(debian, package):
    """The same package as a newer version."""
    tree = os.path.join(debian.directory, "repacked")
    tool("dpkg-deb", "--raw-extract", package, tree)
    control = os.path.join(tree, "DEBIAN", "control")
    tool("sed", "-i", "s/^Version: .*/Version: %s/" % NEWER, control)
    tool("dpkg-deb", "--build", "--root-owner-group", tree, debian.path("/root/newer.deb"))


def ask(debian, method, path, body=None):
    answer = Connection(debian.path(API)).ask(method, path, body)
    expect(answer.status < 300, "%s %s: %s", method, path, answer)
    return answer.body


def qemu(debian, path):
    """A QEMU that reconnects, and serves its disk on a socket."""
    disk = "driver=nbd,node-name=n,server.type=unix,server.path=%s,export=vdb,reconnect-delay=300" % debian.path(NBD)
    process = subprocess.Popen(["qemu-storage-daemon", "--blockdev", disk, "--nbd-server", "addr.type=unix,addr.path=" + path,
                                "--export", "type=nbd,id=e,node-name=n,name=vdb,writable=on"])
    wait_until(lambda: os.path.exists(path) or process.poll() is not None, "qemu-storage-daemon serves")
    return process


def with_systemd(debian, daemon):
    """What the package does where systemd runs: what stands for its commands writes down what it is
    told."""
    debian.run("mkdir -p /run/systemd/system /opt/bin")
    debian.write("/opt/bin/systemctl", "#!/bin/sh\necho %d\n" % int(debian.run("pgrep -x snapgroupd")), 0o755)
    debian.write("/opt/bin/deb-systemd-invoke", "#!/bin/sh\necho told: $*\n", 0o755)
    said = debian.run("PATH=/opt/bin:$PATH /usr/libexec/snapgroupd/restart-unless-used 2>&1")
    debian.run("rmdir /run/systemd/system")
    return said


def upgrade(debian, daemon):
    direct, behind = Disk("vda", BYTES), Disk("vdb", BYTES)
    proxy = os.path.join(debian.directory, "qemu.sock")
    reconnects = qemu(debian, proxy)
    writers = [*start_writers(Server(debian.path(NBD)), [direct]), *start_writers(Server(proxy), [behind])]
    said = debian.run("apt-get install --yes /root/newer.deb 2>&1")
    expect("has 2 NBD clients" in said, "the upgrade says: %s", said)
    expect(NEWER in debian.run("dpkg-query --show snapgroupd"), "another version is installed")
    expect(daemon.poll() is None, "the upgrade ends the daemon")
    for writer in writers:
        writer.expect_progress()
    ask(debian, "POST", "/snapshot-groups", {"name": "upgraded", "devices": [{"device": "vda"}, {"device": "vdb"}]})
    said = with_systemd(debian, daemon)
    expect("told" not in said and "systemctl restart snapgroupd" in said, "with clients: %s", said)

    stop_writers(writers[:1])
    expect(writers[0].error is None, "the client got %s", writers[0].error)
    debian.stop_daemon(daemon)
    daemon = debian.start_daemon()
    writers[1].expect_progress()
    stop_writers(writers[1:])
    reconnects.terminate()
    reconnects.wait()
    server = Server(debian.path(NBD))
    direct.verify_device(server)
    behind.verify_device(server)
    return daemon


def test():
    with Debian() as debian:
        packages = build_packages(os.path.join(debian.directory, "packages"))
        package = [path for path in packages if "/snapgroupd_" in path][0]
        repack(debian, package)
        installed = debian.copy_in([package])
        debian.install("procps curl", *installed)
        daemon = debian.start_daemon()
        for name in ("vda", "vdb"):
            ask(debian, "POST", "/devices", {"name": name, "image": name + ".qcow2", "format": "qcow2", "size_bytes": BYTES})
        daemon = upgrade(debian, daemon)

        said = debian.run("apt-get install --yes --reinstall /root/newer.deb 2>&1")
        expect("has 0 NBD clients" in said, "the second upgrade says: %s", said)
        wait_until(lambda: ask(debian, "GET", "/devices/vda")["clients"] == 0, "the clients are gone")
        said = with_systemd(debian, daemon)
        expect("told: restart snapgroupd.service" in said, "without clients: %s", said)
        debian.stop_daemon(daemon)

        images = debian.path("/var/lib/snapgroupd/images")
        before = checksums(entry.path for entry in os.scandir(images))
        said = debian.run("apt-get purge --yes snapgroupd 2>&1")
        expect("/var/lib/snapgroupd is kept" in said, "the purge says: %s", said)
        expect(checksums(entry.path for entry in os.scandir(images)) == before and len(before) == 4, "the purge changed images")
        expect(not os.path.exists(debian.path("/etc/snapgroupd")), "the purge leaves the configuration")
        debian.install(*installed)
        daemon = debian.start_daemon()
        expect([group["name"] for group in ask(debian, "GET", "/snapshot-groups")["items"]] == ["upgraded"], "the group is gone")
        expect(ask(debian, "GET", "/devices/vda")["state"] == "online", "a disk is not online")
        debian.stop_daemon(daemon)


own_machine()
main(test)
