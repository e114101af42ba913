#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# An upgrade of the package leaves the older daemon running: of two clients that write all the time,
# one of libnbd and one behind a QEMU with reconnect-delay, none gets an error, and a group is taken
# between the upgrade and the restart. A restart by hand then disconnects only the one that does not
# reconnect; nothing that was acknowledged is lost, and the newer daemon goes on with the database.
# With systemd the package itself restarts a daemon without clients, and no other. A purge keeps
# images and database, with which a later installation goes on.
#
# The older version is the package with the daemon of an older commit (older_commit()). To repeat
# the test soon, SNAPGROUPD_OLDER names that daemon.
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from debian import API, NBD, Debian, build_packages, own_machine, tool
from snapgroupd import SOURCE_DIR, Connection, checksums, expect, main, wait_until
from writers import Disk, start_writers, stop_writers

BYTES = 64 << 20
OLDER = "0.1.0~older1-1"
EXECUTABLE = "/usr/bin/snapgroupd"


class Server:
    """Where a writer finds its export."""

    def __init__(self, path):
        self.path = path

    def nbd(self, name):
        import nbd
        handle = nbd.NBD()
        handle.connect_uri("nbd+unix:///%s?socket=%s" % (name, self.path))
        return handle


def git(*arguments, **more):
    return tool("git", "-c", "safe.directory=*", "-C", SOURCE_DIR, *arguments, **more)


def older_commit():
    """The one before the newest file of the schema, if the others have not changed since; while
    that is being written, the one that last changed the schema."""
    files = sorted(os.listdir(os.path.join(SOURCE_DIR, "store", "schema")), key=lambda name: int(name.split(".")[0]))
    before = git("log", "--diff-filter=A", "--format=%P", "-1", "--", "store/schema/" + files[-1]).strip()
    if not git("diff", "--name-only", before, "HEAD", "--", *("store/schema/" + name for name in files[:-1])):
        return before
    return git("log", "--format=%H", "-1", "--", "store/schema").strip()


def build_older(directory):
    """Builds the older daemon; returns its path."""
    if os.environ.get("SNAPGROUPD_OLDER"):
        return os.environ["SNAPGROUPD_OLDER"]
    source, build = os.path.join(directory, "older"), os.path.join(directory, "older-build")
    os.mkdir(source)
    git("archive", "--output", source + ".tar", older_commit())
    tool("tar", "--extract", "--file", source + ".tar", "--directory", source)
    tool("cmake", "-S", source, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DSNAPGROUPD_TESTS=OFF")
    tool("cmake", "--build", build, "--target", "snapgroupd")
    return os.path.join(build, "snapgroupd")


def repack(debian, package, executable):
    """The same package as an older version, with that daemon; its path inside."""
    tree = os.path.join(debian.directory, "repacked")
    tool("dpkg-deb", "--raw-extract", package, tree)
    tool("sed", "-i", "s/^Version: .*/Version: %s/" % OLDER, os.path.join(tree, "DEBIAN", "control"))
    tool("install", "--strip", "--mode=755", executable, tree + EXECUTABLE)
    tool("dpkg-deb", "--build", "--root-owner-group", tree, debian.path("/root/older.deb"))
    return "/root/older.deb"


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


def upgrade(debian, daemon, packages):
    direct, behind = Disk("vda", BYTES), Disk("vdb", BYTES)
    proxy = os.path.join(debian.directory, "qemu.sock")
    reconnects = qemu(debian, proxy)
    writers = [*start_writers(Server(debian.path(NBD)), [direct]), *start_writers(Server(proxy), [behind])]
    older = tool("sha256sum", debian.path(EXECUTABLE))
    said = debian.run("apt-get install --yes %s 2>&1" % " ".join(packages))
    expect("has 2 NBD clients" in said, "the upgrade says: %s", said)
    expect(OLDER not in debian.run("dpkg-query --show snapgroupd"), "the older version is installed still")
    expect(tool("sha256sum", debian.path(EXECUTABLE)) != older, "both versions have the same daemon")
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
    running = os.readlink("/proc/%s/exe" % debian.run("pgrep -x snapgroupd").strip())
    expect("deleted" not in running, "the older daemon runs still")
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
        older = repack(debian, package, build_older(debian.directory))
        newer = debian.copy_in(packages)
        debian.install("procps curl", older)
        daemon = debian.start_daemon()
        for name in ("vda", "vdb"):
            ask(debian, "POST", "/devices", {"name": name, "image": name + ".qcow2", "format": "qcow2", "size_bytes": BYTES})
        ask(debian, "POST", "/snapshot-groups", {"name": "first", "devices": [{"device": "vda"}, {"device": "vdb"}]})
        daemon = upgrade(debian, daemon, newer)

        said = debian.run("apt-get install --yes --reinstall %s 2>&1" % " ".join(newer))
        expect("has 0 NBD clients" in said, "the second upgrade says: %s", said)
        wait_until(lambda: ask(debian, "GET", "/devices/vda")["clients"] == 0, "the clients are gone")
        said = with_systemd(debian, daemon)
        expect("told: restart snapgroupd.service" in said, "without clients: %s", said)
        debian.stop_daemon(daemon)

        images = debian.path("/var/lib/snapgroupd/images")
        before = checksums(entry.path for entry in os.scandir(images))
        said = debian.run("apt-get purge --yes snapgroupd 2>&1")
        expect("/var/lib/snapgroupd is kept" in said, "the purge says: %s", said)
        expect(checksums(entry.path for entry in os.scandir(images)) == before and len(before) == 6, "the purge changed images")
        expect(not os.path.exists(debian.path("/etc/snapgroupd")), "the purge leaves the configuration")
        debian.install(*newer)
        daemon = debian.start_daemon()
        groups = [group["name"] for group in ask(debian, "GET", "/snapshot-groups")["items"]]
        expect(groups == ["upgraded", "first"], "the groups are %s", groups)
        expect(ask(debian, "GET", "/devices/vda")["state"] == "online", "a disk is not online")
        debian.stop_daemon(daemon)


own_machine()
main(test)
