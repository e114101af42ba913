# SPDX-License-Identifier: Apache-2.0
"""A raw image on storage that takes its time: a FUSE file system whose server delays each write, or
each flush. For scripts that called filesystems.own_mounts() first.

    with SlowFile(directory, "write", size_bytes) as slow:    or "flush"
        slow.path

Or one that hangs until it is told to go on:

    with HangingFile(daemon, "name", size_bytes) as hanging:  daemon.image("name") + "/disk.raw"
        hanging.hang()
        hanging.go_on()
"""
import contextlib
import glob
import os
import signal
import subprocess

from snapgroupd import wait_until

DELAY_MS = 500


def tasks_that_hang(daemon):
    """How many of its threads wait for a FUSE server."""
    count = 0
    for path in glob.glob("/proc/%d/task/*/wchan" % daemon.process.pid):
        with contextlib.suppress(OSError), open(path) as place:
            count += place.read() in ("request_wait_answer", "fuse_simple_request", "__fuse_simple_request")
    return count


class FuseFile:
    """A raw image on a file system of its own, mounted at `directory`, which is created; its socket
    and its storage are `beside` with an ending. serve_storage() starts what serves one at the
    other."""

    def __init__(self, directory, beside, size_bytes):
        self.directory, self.path = directory, os.path.join(directory, "disk.raw")
        self.socket, self.store = beside + ".sock", beside + ".store"
        self.size_bytes, self.servers = size_bytes, []

    def __enter__(self):
        os.mkdir(self.directory)
        self.prepare()
        with open(self.store, "w") as store:
            store.truncate(self.size_bytes)
        self.serve_storage()
        self.serve(["nbdfuse", self.path, "nbd+unix:///?socket=" + self.socket])
        wait_until(lambda: os.path.exists(self.path) and os.path.getsize(self.path) == self.size_bytes, "nbdfuse to mount")
        return self

    def prepare(self):
        """Before it is mounted."""

    def mountpoint(self):
        return self.directory

    def __exit__(self, *unused):
        subprocess.run(["umount", "--lazy", self.mountpoint()], check=False)
        for server in reversed(self.servers):
            server.kill()
            server.wait()

    def serve(self, command):
        self.servers.append(subprocess.Popen(["setpriv", "--pdeathsig", "KILL"] + command, stdin=subprocess.DEVNULL))


class SlowFile(FuseFile):
    def __init__(self, directory, operation, size_bytes):
        super().__init__(directory, directory, size_bytes)
        self.operation = operation

    def server(self):
        if self.operation == "write":
            return ["--filter=delay", "file", self.store, "delay-write=%dms" % DELAY_MS]
        # No filter delays a flush.
        return ["eval", "get_size=stat -c %%s %s" % self.store, "can_write=exit 0", "can_flush=exit 0",
                "flush=sleep %.3f" % (DELAY_MS / 1000),
                "pread=dd iflag=count_bytes,skip_bytes skip=$4 count=$3 status=none if=" + self.store,
                "pwrite=dd oflag=seek_bytes conv=notrunc seek=$4 status=none of=" + self.store]

    def serve_storage(self):
        pidfile = self.directory + ".pid"  # written once it listens
        self.serve(["nbdkit", "--foreground", "--pidfile", pidfile, "--unix", self.socket] + self.server())
        wait_until(lambda: os.path.exists(pidfile), "nbdkit to listen")


class HangingFile(FuseFile):
    """Beneath the daemon's image directory; hangs on demand. All have the same identity, but for
    those of HangingMount."""

    def __init__(self, daemon, name, size_bytes):
        super().__init__(daemon.image(name), os.path.join(daemon.directory, name), size_bytes)

    def serve_storage(self):
        pidfile = self.store + ".pid"  # written once it listens
        self.serve(["qemu-nbd", "--persistent", "--shared=0", "--format=raw", "--pid-file", pidfile, "--socket", self.socket,
                    self.store])
        wait_until(lambda: os.path.exists(pidfile), "qemu-nbd to listen")

    def __exit__(self, *unused):
        self.go_on()
        super().__exit__()

    def hang(self):
        self.servers[-1].send_signal(signal.SIGSTOP)

    def go_on(self):
        self.servers[-1].send_signal(signal.SIGCONT)


class HangingMount(HangingFile):
    """Mounted over the file itself, which so has another inode number."""

    def prepare(self):
        with open(self.path, "w"):
            pass

    def mountpoint(self):
        return self.path
