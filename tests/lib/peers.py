# SPDX-License-Identifier: Apache-2.0
"""What benchmarks share: qemu-storage-daemon as a peer, fio's nbd engine as the client, what a
process has used."""
import json
import os
import platform
import subprocess
import sys
import time

from snapgroupd import run, wait_until

QSD_MODES = ("threads", "io_uring")


def arguments(second, what):
    """The benchmark's two numbers, ROUNDS [5] and one that defaults to `second`; prints them with
    the machine. `what` has a %d for the second."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    second = int(sys.argv[2]) if len(sys.argv) > 2 else second
    print("%s, %d cores, %d rounds of %s" % (platform.platform(), os.cpu_count(), rounds, what % second), flush=True)
    return rounds, second


def create_qcow2(directory, name, size_bytes):
    image = os.path.join(directory, name + ".qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", image, str(size_bytes))
    return image


def cpu_seconds(pid):
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3)


def resident_kib(pid):
    with open("/proc/%d/status" % pid) as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


class Peer:
    """Another server, until the block is left. `path`: what is there once it serves."""

    def __init__(self, command, path, stdout=None):
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdout=stdout)
        wait_until(lambda: os.path.exists(path), command[0] + " serves")

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        """Ends it at once, for images that nobody needs any more: nothing is flushed."""
        self.process.kill()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self.process.terminate()
        self.process.wait()


class QSD(Peer):
    """qemu-storage-daemon serving qcow2 images over one Unix socket, until the block is left.
    `uris` is in their order, `uri` the first one's."""

    def __init__(self, mode, socket_path, *images):
        self.uris = ["nbd+unix:///d%d?socket=%s" % (i, socket_path) for i in range(len(images))]
        self.uri = self.uris[0]
        pidfile = socket_path + ".pid"
        command = ["qemu-storage-daemon", "--pidfile", pidfile,
                   "--nbd-server", "addr.type=unix,max-connections=0,addr.path=" + socket_path]
        for i, image in enumerate(images):
            command += ["--blockdev", "driver=qcow2,node-name=n%d,file.driver=file,file.aio=%s,file.filename=%s" %
                        (i, mode, image), "--export", "type=nbd,id=e%d,node-name=n%d,name=d%d,writable=on" % (i, i, i)]
        super().__init__(command, pidfile)


def fio(uri, rw, bs, depth, *options):
    """Runs one job; with several uris (a list) one for each, at once. The sums of "iops" and
    "total_ios"."""
    command = ["fio", "--output-format=json"]
    for i, one in enumerate([uri] if isinstance(uri, str) else uri):
        command += ["--name=job%d" % i, "--ioengine=nbd", "--uri=" + one, "--rw=" + rw, "--bs=" + bs,
                    "--iodepth=%d" % depth, *options]
    said = run(*command)
    sides = [job[side] for job in json.loads(said[said.index("{"):])["jobs"] for side in ("read", "write")]
    return {key: sum(side[key] for side in sides) for key in ("iops", "total_ios")}
