# SPDX-License-Identifier: Apache-2.0
"""qemu-storage-daemon with disks that come and go, beside a snapgroupd that is given the same.

    with Twin(directory) as qemu:
        qemu.attach("vda", path, "qcow2")
        qemu.nbd("vda")                     a connected libnbd handle
        qemu.snapshot({"vda": overlay})     blockdev-snapshot-sync of all, in one transaction
        qemu.detach("vda")                  its images are closed
"""
import os
import subprocess

import nbd
from peers import Peer
from qsdgroups import Monitor
from snapgroupd import Failure, wait_until


class Twin(Peer):
    def __init__(self, directory):
        self.nbd_socket, monitor = os.path.join(directory, "q-nbd.sock"), os.path.join(directory, "qmp.sock")
        super().__init__(
            ["qemu-storage-daemon", "--nbd-server", "addr.type=unix,max-connections=0,addr.path=" + self.nbd_socket,
             "--chardev", "socket,id=qmp,server=on,wait=off,path=" + monitor, "--monitor", "chardev=qmp"],
            monitor, stdout=subprocess.DEVNULL)
        self.monitor = Monitor(monitor)
        self.roots, self.tops = {}, {}  # nodes by disk: that which was attached, and the top
        self.made = 0

    def __exit__(self, kind, value, traceback):
        self.monitor.close()
        super().__exit__(kind, value, traceback)

    def node(self):
        self.made += 1
        return "n%d" % self.made

    def attach(self, name, path, kind, writable=True):
        self.roots[name] = self.tops[name] = node = self.node()
        self.monitor.execute("blockdev-add", **{
            "driver": kind, "node-name": node, "read-only": not writable, "discard": "unmap",
            "file": {"driver": "file", "filename": path}})
        self.monitor.execute("block-export-add", **{
            "type": "nbd", "id": name, "node-name": node, "name": name, "writable": writable})

    def detach(self, name):
        self.monitor.execute("block-export-del", id=name, mode="hard")
        node = self.roots.pop(name)
        del self.tops[name]

        def is_deleted():
            try:
                self.monitor.execute("blockdev-del", **{"node-name": node})
            except Failure as failure:
                if "in use" in str(failure):
                    return False
                raise
            return True
        wait_until(is_deleted, "qemu-storage-daemon closes %s" % name)

    def snapshot(self, overlays):
        tops = {name: self.node() for name in overlays}
        self.monitor.execute("transaction", actions=[{"type": "blockdev-snapshot-sync", "data": {
            "node-name": self.tops[name], "snapshot-file": path, "snapshot-node-name": tops[name], "format": "qcow2"}}
            for name, path in overlays.items()])
        self.tops.update(tops)

    def nbd(self, name):
        handle = nbd.NBD()
        handle.connect_uri("nbd+unix:///%s?socket=%s" % (name, self.nbd_socket))
        return handle
