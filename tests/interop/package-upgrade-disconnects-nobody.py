#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# An upgrade of the package leaves the older daemon running: of two clients that write all the time,
# one of libnbd and one behind a QEMU with reconnect-delay, none gets an error, and a group is taken
# between the upgrade and the restart. A restart by hand then disconnects only the one that does not
# reconnect. Nothing that was acknowledged is lost: the newer daemon has the disks, and the groups
# from before, which it clones, rolls back to and deletes. A daemon without clients is restarted by
# the package itself. A purge keeps images and database, with which a later installation goes on.
#
# All of this with two older versions, one whose database has an older schema (older_commits()): the
# package, with the daemon and the unit of then. To repeat the test soon, SNAPGROUPD_OLDER names a
# directory that has them from an earlier run.
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from booted import Booted
from debian import API, NBD, build_packages, own_machine, tool
from snapgroupd import EXCHANGES, SOURCE_DIR, Connection, checksums, expect, main, wait_until
from writers import Disk, start_writers, stop_writers

BYTES = 64 << 20
OLDER = "0.1.0~older1-1"
EXECUTABLE = "/usr/bin/snapgroupd"
UNIT = "/lib/systemd/system/snapgroupd.service"
SCHEMA = os.path.join("store", "schema")
DISKS = ("vda", "vdb")


class Server:
    """Where a writer finds its export."""

    def __init__(self, path):
        self.path = path

    def nbd(self, name):
        import nbd
        handle = nbd.NBD()
        handle.connect_uri("nbd+unix:///%s?socket=%s" % (name, self.path))
        return handle


# ---- the older packages ----

def git(*arguments):
    return tool("git", "-c", "safe.directory=*", "-C", SOURCE_DIR, *arguments)


def older_commits():
    """The newest before a file of the schema was added that has the files before it as they are
    now, as a released one stays; and the one that last changed the schema."""
    names = os.listdir(os.path.join(SOURCE_DIR, SCHEMA))
    files = ["%s/%s" % (SCHEMA, name) for name in sorted(names, key=lambda name: int(name.split(".")[0]))]
    for count in range(len(files) - 1, 0, -1):
        before = git("log", "--diff-filter=A", "--format=%P", "-1", "--", files[count]).strip()
        if not git("diff", "--name-only", before, "HEAD", "--", *files[:count]):
            return [before, git("log", "--format=%H", "-1", "--", SCHEMA).strip()]
    expect(False, "no commit has an older schema")


def build_older(directory, commit):
    """Builds the daemon of then; the directory that has it and its unit."""
    result = os.path.join(os.environ.get("SNAPGROUPD_OLDER") or directory, "older-" + commit[:12])
    if os.path.exists(result):
        return result
    source, build = result + ".source", result + ".build"
    os.mkdir(source)
    git("archive", "--output", source + ".tar", commit)
    tool("tar", "--extract", "--file", source + ".tar", "--directory", source)
    tool("cmake", "-S", source, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=RelWithDebInfo", "-DSNAPGROUPD_TESTS=OFF")
    tool("cmake", "--build", build, "--target", "snapgroupd")
    os.mkdir(result)
    tool("cp", build + "/snapgroupd", source + "/deploy/systemd/snapgroupd.service", result)
    # With this, no daemon opens an image.
    tool("sed", "-i", "/^RestrictSUIDSGID=yes$/d", result + "/snapgroupd.service")
    return result


def repack(debian, package, older):
    """The package as an older version; its path inside."""
    tree = os.path.join(debian.directory, os.path.basename(older) + ".tree")
    tool("dpkg-deb", "--raw-extract", package, tree)
    tool("sed", "-i", "s/^Version: .*/Version: %s/" % OLDER, os.path.join(tree, "DEBIAN", "control"))
    tool("install", "--strip", "--mode=755", older + "/snapgroupd", tree + EXECUTABLE)
    tool("install", "--mode=644", older + "/snapgroupd.service", tree + UNIT)
    tool("dpkg-deb", "--build", "--root-owner-group", tree, debian.path("/root/older.deb"))
    return "/root/older.deb"


# ---- the machine ----

def ask(debian, method, path, body=None):
    answer = Connection(debian.path(API)).ask(method, path, body)
    expect(answer.status < 300, "%s %s: %s", method, path, answer)
    return answer.body


def pid(debian):
    """Of the unit's daemon, which must run."""
    expect(debian.run("systemctl is-active snapgroupd").strip() == "active", "the unit is not active")
    return int(debian.run("systemctl show --property=MainPID --value snapgroupd"))


def schema(debian):
    return int(debian.run("sqlite3 /var/lib/snapgroupd/state/*.db 'PRAGMA user_version'"))


def qemu(debian, path):
    """A QEMU that reconnects, and serves its disk on a socket."""
    disk = "driver=nbd,node-name=n,server.type=unix,server.path=%s,export=vdb,reconnect-delay=300" % debian.path(NBD)
    process = subprocess.Popen(["qemu-storage-daemon", "--blockdev", disk, "--nbd-server", "addr.type=unix,addr.path=" + path,
                                "--export", "type=nbd,id=e,node-name=n,name=vdb,writable=on"])
    wait_until(lambda: os.path.exists(path) or process.poll() is not None, "qemu-storage-daemon serves")
    return process


class Group:
    """What a group that is taken beside writers may hold of each disk."""

    def __init__(self, debian, name, disks):
        self.name, self.disks = name, disks
        self.acknowledged = [list(disk.acknowledged) for disk in disks]
        ask(debian, "POST", "/snapshot-groups", {"name": name, "devices": [{"device": disk.name} for disk in disks]})
        self.issued = [list(disk.issued) for disk in disks]

    def verify(self, server):
        for disk, acknowledged, issued in zip(self.disks, self.acknowledged, self.issued):
            disk.verify_frozen(server, self.name, acknowledged, issued)


class Upgrade:
    def __init__(self, debian, older, packages):
        self.debian, self.older, self.packages = debian, older, packages
        self.server = Server(debian.path(NBD))
        self.disks = [Disk(name, BYTES) for name in DISKS]
        self.groups = []

    def run(self):
        count = len(EXCHANGES)
        self.debian.install(self.older)
        for name in DISKS:
            ask(self.debian, "POST", "/devices", {"name": name, "image": name + ".qcow2", "format": "qcow2", "size_bytes": BYTES})
        before = schema(self.debian)
        self.under_writers()
        del EXCHANGES[count:]  # replies of the older daemon are by an older contract
        after = schema(self.debian)
        self.groups_of_before()
        self.without_clients()
        self.purge()
        return before, after

    def take(self, name):
        self.groups.insert(0, Group(self.debian, name, self.disks))
        self.groups[0].verify(self.server)

    def expect_left_alone(self, said, before):
        """The upgrade ended no daemon, and said what to do."""
        count = self.debian.run("curl -sS --unix-socket %s http://localhost/metrics" % API)
        who = "has 2 NBD clients" if "\nsnapgroupd_nbd_connections " in count else "does not say whether NBD clients"
        expect(who in said and "systemctl restart snapgroupd" in said, "instead of %s: %s", who, said)
        expect(pid(self.debian) == before, "another daemon runs")

    def under_writers(self):
        proxy = os.path.join(self.debian.directory, "qemu.sock")
        reconnects = qemu(self.debian, proxy)
        writers = [*start_writers(self.server, self.disks[:1]), *start_writers(Server(proxy), self.disks[1:])]
        self.take("first")
        before, executable = pid(self.debian), tool("sha256sum", self.debian.path(EXECUTABLE))
        said = self.debian.run("apt-get install --yes %s 2>&1" % " ".join(self.packages))
        self.expect_left_alone(said, before)
        expect(OLDER not in self.debian.run("dpkg-query --show snapgroupd"), "the older version is installed still")
        expect(tool("sha256sum", self.debian.path(EXECUTABLE)) != executable, "both versions have the same daemon")
        for writer in writers:
            writer.expect_progress()
        self.take("upgraded")
        self.expect_left_alone(self.debian.run("/usr/libexec/snapgroupd/restart-unless-used 2>&1"), before)

        stop_writers(writers[:1])
        expect(writers[0].error is None, "the client got %s", writers[0].error)
        self.debian.run("systemctl restart snapgroupd")
        expect("deleted" not in os.readlink("/proc/%d/root/proc/%d/exe" % (self.debian.init, pid(self.debian))),
               "the older daemon runs still")
        writers[1].expect_progress()
        stop_writers(writers[1:])
        reconnects.terminate()
        reconnects.wait()
        os.unlink(proxy)
        for disk in self.disks:
            disk.verify_device(self.server)

    def groups_of_before(self):
        """Each is read; then cloned, rolled back to and deleted."""
        for group in self.groups:
            group.verify(self.server)
        first = self.groups[-1]
        ask(self.debian, "POST", "/devices", {"name": "copy", "from": {"group": "first", "device": "vda"}, "image": "copy.qcow2"})
        handle = self.server.nbd("copy")
        self.disks[0].verify(handle, first.acknowledged[0], first.issued[0], "the clone")
        handle.shutdown()
        ask(self.debian, "POST", "/snapshot-groups/first/rollbacks", {"name": "back"})
        for disk, acknowledged, issued in zip(self.disks, first.acknowledged, first.issued):
            disk.acknowledged, disk.issued = acknowledged, issued
            disk.verify_device(self.server)
        for name in ("back", "upgraded"):
            job = ask(self.debian, "DELETE", "/snapshot-groups/" + name)["id"]
            wait_until(lambda: ask(self.debian, "GET", "/jobs/" + job)["state"] not in ("queued", "running"), "the job ends")
            expect(ask(self.debian, "GET", "/jobs/" + job)["state"] == "done", "%s", ask(self.debian, "GET", "/jobs/" + job))
        first.verify(self.server)
        for disk in self.disks:
            disk.verify_device(self.server)

    def without_clients(self):
        wait_until(lambda: ask(self.debian, "GET", "/devices/vda")["clients"] == 0, "the clients are gone")
        before = pid(self.debian)
        said = self.debian.run("apt-get install --yes --reinstall %s 2>&1" % " ".join(self.packages))
        expect(pid(self.debian) != before and "NBD client" not in said, "without clients: %s", said)

    def purge(self):
        images = self.debian.path("/var/lib/snapgroupd/images")
        self.debian.run("systemctl stop snapgroupd")
        before = checksums(entry.path for entry in os.scandir(images))
        said = self.debian.run("apt-get purge --yes snapgroupd 2>&1")
        expect("/var/lib/snapgroupd is kept" in said, "the purge says: %s", said)
        expect(checksums(entry.path for entry in os.scandir(images)) == before and len(before) >= 4, "the purge changed images")
        expect(not os.path.exists(self.debian.path("/etc/snapgroupd")), "the purge leaves the configuration")
        self.debian.install(*self.packages)
        names = [group["name"] for group in ask(self.debian, "GET", "/snapshot-groups?state=committed")["items"]]
        expect(names == ["first"], "the groups are %s", names)
        self.groups[-1].verify(self.server)
        for disk in self.disks:
            expect(ask(self.debian, "GET", "/devices/" + disk.name)["state"] == "online", "%s is not online", disk.name)
            disk.verify_device(self.server)
        self.debian.run("apt-get purge --yes snapgroupd && rm -r /var/lib/snapgroupd")


def test():
    with Booted(packages=["curl", "sqlite3"]) as debian:
        packages = build_packages(os.path.join(debian.directory, "packages"))
        package = [path for path in packages if "/snapgroupd_" in path][0]
        newer = debian.copy_in(packages)
        schemas = []
        for commit in older_commits():
            older = repack(debian, package, build_older(debian.directory, commit))
            schemas.append(Upgrade(debian, older, newer).run())
            print("%s: from schema %d to %d" % (commit[:12], *schemas[-1]))
        (oldest, newest), (same, now) = schemas
        expect(oldest < newest == same == now, "the schemas are %s", schemas)


own_machine()
main(test)
