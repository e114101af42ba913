# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL on two of the daemon's disks: its data on one, its WAL on the other.

    daemon -> NBD -> qemu-storage-daemon -> file on FUSE -> loop device -> ext4

    host = Host(daemon, {"data": "vda", "wal": "vdb"})
    host.create()                 file systems and an empty database cluster, once
    with host.up():               mounted, the server runs; afterwards no client is left
        host.sql("SELECT 1")

Everything that writes ends without a flush: the server is killed, then what the kernel still has of
the file systems is written and they are unmounted, then the NBD clients end. A test needs a mount
namespace of its own (own_mounts() of filesystems.py). The server runs as nobody, and is the one of
Debian's postgresql-15, which deploy/install-packages.sh unpacks if it is not installed.
"""
import contextlib
import glob
import os
import signal
import subprocess
import threading

from filesystems import MKFS
from snapgroupd import DEADLINE_S, Failure, expect, run, wait_until

FILES = "/var/cache/snapgroupd-tests/postgresql"
SIZES = {"data": 160 << 20, "wal": 48 << 20}
# Little is kept in memory and little WAL: checkpoints are frequent, and a file of the WAL is soon
# written over.
SETTINGS = {"listen_addresses": "", "shared_buffers": "1MB", "max_wal_size": "4MB", "min_wal_size": "2MB",
            "checkpoint_timeout": "30s", "jit": "off", "max_connections": "20", "synchronous_commit": "on",
            "full_page_writes": "on", "wal_recycle": "on", "logging_collector": "off", "fsync": "on"}


def installed():
    """The directory that Debian's packages were installed or unpacked to."""
    for root in (FILES, ""):
        if os.path.exists(root + "/usr/lib/postgresql/15/bin/postgres"):
            return root
    raise Failure("there is no PostgreSQL 15: run deploy/install-packages.sh test")


class Bridge:
    """An export as a file; its NBD client ends with the block."""

    def __init__(self, daemon, name, path):
        self.daemon, self.name, self.path = daemon, name, path

    def __enter__(self):
        with open(self.path, "w"):
            pass
        size = self.daemon.get("/devices/" + self.name)["size_bytes"]
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "qemu-storage-daemon", "--blockdev",
             "driver=nbd,node-name=disk,export=%s,server.type=unix,server.path=%s/nbd.sock" % (self.name,
                                                                                        self.daemon.runtime),
             "--export", "fuse,id=disk,node-name=disk,writable=on,mountpoint=" + self.path])
        wait_until(lambda: self.process.poll() is not None or os.stat(self.path).st_size == size,
                   "the file of " + self.name)
        expect(self.process.poll() is None, "the NBD client of %s ended by itself", self.name)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Host:
    def __init__(self, daemon, disks):
        self.daemon, self.disks = daemon, disks
        self.root = installed()
        self.mountpoints = {kind: os.path.join(daemon.directory, kind) for kind in disks}
        self.sockets = os.path.join(daemon.directory, "sockets")
        self.cluster = os.path.join(self.mountpoints["data"], "cluster")
        self.log = os.path.join(daemon.directory, "postgres.log")
        self.environment = {**os.environ, "PGHOST": self.sockets, "PGUSER": "postgres", "PGDATABASE": "postgres",
                            "LD_LIBRARY_PATH": self.root + "/usr/lib/x86_64-linux-gnu", "LC_ALL": "C.UTF-8",
                            "HOME": self.sockets}
        os.chmod(daemon.directory, 0o755)
        for path in [self.sockets, *self.mountpoints.values()]:
            os.mkdir(path)
        run("chown", "nobody:nogroup", self.sockets)

    # ---- programs ----

    def command(self, program, *arguments):
        return ["setpriv", "--pdeathsig", "KILL", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups",
                "%s/usr/lib/postgresql/15/bin/%s" % (self.root, program), *arguments]

    def begin(self, program, *arguments, **more):
        return subprocess.Popen(self.command(program, *arguments), env=self.environment, cwd=self.sockets, **more)

    def run(self, program, *arguments):
        done = subprocess.run(self.command(program, *arguments), env=self.environment, cwd=self.sockets, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=5 * DEADLINE_S)
        expect(done.returncode == 0, "%s %s: %s%s", program, arguments, done.stdout, done.stderr)
        return done.stdout

    def sql(self, text):
        """The fields of the one row that is returned, as text."""
        return self.run("psql", "--no-psqlrc", "-qtA", "-v", "ON_ERROR_STOP=1", "-c", text).strip().split("|")

    # ---- life ----

    def bridge(self, name):
        return Bridge(self.daemon, name, os.path.join(self.daemon.directory, name + ".fuse"))

    @contextlib.contextmanager
    def mounted(self):
        with contextlib.ExitStack() as stack:
            for kind, name in self.disks.items():
                bridge = stack.enter_context(self.bridge(name))
                run("mount", "-o", "loop", bridge.path, self.mountpoints[kind])
                stack.callback(run, "umount", self.mountpoints[kind])
            yield

    def create(self):
        for name in self.disks.values():
            with self.bridge(name) as bridge:
                run(*MKFS["ext4"], bridge.path)
        with self.mounted():
            run("chown", "nobody:nogroup", *self.mountpoints.values())
            self.run("initdb", "--pgdata", self.cluster, "--waldir", os.path.join(self.mountpoints["wal"], "wal"),
                     "--wal-segsize=1", "--auth=trust", "--username=postgres", "--data-checksums", "--no-locale",
                     "--encoding=UTF8", "--no-sync", "--no-instructions")
            with open(os.path.join(self.cluster, "postgresql.auto.conf"), "a") as settings:
                settings.writelines("%s = '%s'\n" % setting for setting in SETTINGS.items())
                settings.write("unix_socket_directories = '%s'\n" % self.sockets)

    @contextlib.contextmanager
    def up(self):
        with self.mounted():
            with open(self.log, "wb") as log:
                server = self.begin("postgres", "-D", self.cluster, stdout=log, stderr=log)
            try:
                self.await_ready(server)
                yield
            finally:
                self.kill(server)

    def await_ready(self, server):
        """Failure, with its log, if it does not start."""
        def look():
            return server.poll() is not None or subprocess.run(
                self.command("pg_isready", "-q"), env=self.environment, cwd=self.sockets).returncode == 0
        try:
            wait_until(look, "the server to be ready")
            expect(server.poll() is None, "the server ended")
        except Failure as failure:
            with open(self.log, errors="replace") as log:
                raise Failure("%s: %s" % (failure, log.read()[-3000:])) from None

    def kill(self, server):
        """Its children end themselves when it is gone; nobody of them may hold the file system."""
        children = []
        for path in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError), open(path) as stat:
                fields = stat.read().rpartition(")")[2].split()
                if int(fields[1]) == server.pid:
                    children.append(int(path.split("/")[2]))
        server.kill()
        server.wait()
        wait_until(lambda: not any(os.path.exists("/proc/%d" % child) for child in children),
                   "the server's processes to end")


class Counter(threading.Thread):
    """Inserts 1, 2, 3, ..., each a transaction of its own: acknowledged <= what is there <=
    issued."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.client = host.begin("psql", "--no-psqlrc", "-qtA", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True)
        self.issued = self.acknowledged = 0
        self.stopping = threading.Event()
        self.start()

    def run(self):
        with contextlib.suppress(BrokenPipeError, ValueError):
            while not self.stopping.is_set():
                self.issued += 1
                self.client.stdin.write("INSERT INTO counted VALUES (%d) RETURNING n;\n" % self.issued)
                self.client.stdin.flush()
                if self.client.stdout.readline().strip() != str(self.issued):
                    return
                self.acknowledged = self.issued

    def await_more(self, count):
        wanted = self.acknowledged + count
        wait_until(lambda: self.acknowledged >= wanted, "%d transactions more" % count)
        return self.acknowledged

    def stop(self):
        self.stopping.set()
        self.join(DEADLINE_S)
        self.client.kill()
        self.client.wait()
        self.client.stdin.close()
        self.client.stdout.close()
