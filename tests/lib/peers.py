# SPDX-License-Identifier: Apache-2.0
"""What benchmarks share: qemu-storage-daemon as a peer, fio's nbd engine as the client, what a process has used."""
import json
import os
import subprocess
import time

from snapgroupd import run, wait_until

QSD_MODES = ("threads", "io_uring")


def cpu_seconds(pid):
    return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3)


def resident_kib(pid):
    with open("/proc/%d/status" % pid) as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


class QSD:
    """qemu-storage-daemon serving one qcow2 image over a Unix socket, until the block is left."""

    def __init__(self, image, mode, socket_path):
        self.uri = "nbd+unix:///d?socket=" + socket_path
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "qemu-storage-daemon", "--blockdev",
             "driver=qcow2,node-name=n,file.driver=file,file.aio=%s,file.filename=%s" % (mode, image),
             "--nbd-server", "addr.type=unix,addr.path=" + socket_path,
             "--export", "type=nbd,id=e,node-name=n,name=d,writable=on"])
        wait_until(lambda: os.path.exists(socket_path), "qemu-storage-daemon serves")

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        """Ends it at once, for images that nobody wants any more: nothing is flushed."""
        self.process.kill()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self.process.terminate()
        self.process.wait()


def fio(uri, rw, bs, depth, *options):
    """Runs one job over one connection; the report's side that matters, e.g. its "iops" and "total_ios"."""
    said = run("fio", "--name=job", "--ioengine=nbd", "--uri=" + uri, "--rw=" + rw, "--bs=" + bs,
               "--iodepth=%d" % depth, "--output-format=json", *options)
    report = json.loads(said[said.index("{"):])["jobs"][0]
    return report["read" if "read" in rw else "write"]
