# SPDX-License-Identifier: Apache-2.0
"""Group snapshots by qemu-storage-daemon, for benchmarks that compare with it.

    with GroupQSD(directory, {"d0": (path, "qcow2")}, size_bytes) as peer:
        peer.uri("d0")
        prepare_s, commit_s = peer.snapshot_sync(1)       blockdev-snapshot-sync in one transaction
        prepare_s, commit_s = peer.snapshot_prepared(2)   overlays by blockdev-create, then one
                                                          transaction of blockdev-snapshot
"""
import json
import os
import socket
import subprocess
import time

from peers import Peer
from snapgroupd import DEADLINE_S, Failure, wait_until


def connected(path):
    """A socket, or None: the path is there before anybody listens."""
    client = socket.socket(socket.AF_UNIX)
    try:
        client.connect(path)
        return client
    except ConnectionRefusedError:
        client.close()
        return None


class Monitor:
    """A QMP connection."""

    def __init__(self, path):
        self.socket = wait_until(lambda: connected(path), "the monitor's socket")
        self.socket.settimeout(DEADLINE_S)
        self.lines = self.socket.makefile("r")
        self.concluded = set()
        self.receive()  # the greeting
        self.execute("qmp_capabilities")

    def close(self):
        self.lines.close()
        self.socket.close()

    def receive(self):
        """The next message that is no event; of the events it keeps the ends of jobs."""
        try:
            message = json.loads(self.lines.readline())
        except TimeoutError:
            raise Failure("qemu-storage-daemon does not answer within %d s" % DEADLINE_S) from None
        if message.get("event") == "JOB_STATUS_CHANGE" and message["data"]["status"] == "concluded":
            self.concluded.add(message["data"]["id"])
        return message

    def execute(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = self.receive()
            if "error" in answer:
                raise Failure("%s: %s" % (command, answer["error"]))
            if "return" in answer:
                return answer["return"]

    def finish_job(self, job):
        while job not in self.concluded:
            self.receive()
        self.concluded.remove(job)
        status = next(found for found in self.execute("query-jobs") if found["id"] == job)
        if "error" in status:
            raise Failure("%s: %s" % (job, status["error"]))
        self.execute("job-dismiss", id=job)


class GroupQSD(Peer):
    """Serves `disks`, {name: (path, format)}. Overlays are created in `directory`."""

    def __init__(self, directory, disks, size_bytes):
        self.directory, self.size_bytes = directory, size_bytes
        self.names = list(disks)
        self.tops = {name: (name, *disks[name]) for name in disks}  # node, path, format
        self.nbd_socket, qmp_socket = os.path.join(directory, "nbd.sock"), os.path.join(directory, "qmp.sock")
        command = ["qemu-storage-daemon", "--nbd-server", "addr.type=unix,max-connections=0,addr.path=" + self.nbd_socket]
        for name, (path, kind) in disks.items():
            command += ["--blockdev", "driver=%s,node-name=%s,file.driver=file,file.filename=%s" % (kind, name, path),
                        "--export", "type=nbd,id=export-%s,node-name=%s,name=%s,writable=on" % (name, name, name)]
        # Last, so that all is exported once it can be connected to.
        command += ["--chardev", "socket,id=qmp,server=on,wait=off,path=" + qmp_socket, "--monitor", "chardev=qmp"]
        super().__init__(command, qmp_socket, stdout=subprocess.DEVNULL)
        self.monitor = Monitor(qmp_socket)

    def __exit__(self, kind, value, traceback):
        self.monitor.close()
        super().__exit__(kind, value, traceback)

    def uri(self, name):
        return "nbd+unix:///%s?socket=%s" % (name, self.nbd_socket)

    def overlays(self, number):
        """{name: (node, path, format)} of the tops to come."""
        return {name: ("%s-%d" % (name, number), os.path.join(self.directory, "%s-%d.qcow2" % (name, number)), "qcow2")
                for name in self.names}

    def transaction(self, actions, overlays):
        begun = time.monotonic()
        self.monitor.execute("transaction", actions=actions)
        self.tops = overlays
        return time.monotonic() - begun

    def snapshot_sync(self, number):
        overlays = self.overlays(number)
        actions = [{"type": "blockdev-snapshot-sync", "data": {
            "node-name": self.tops[name][0], "snapshot-file": path, "snapshot-node-name": node, "format": kind}}
            for name, (node, path, kind) in overlays.items()]
        return 0, self.transaction(actions, overlays)

    def start_creation(self, name, node, path):
        """A file node, and a job that writes the overlay's header and tables to it."""
        with open(path, "x"):
            pass
        _, below, kind = self.tops[name]
        self.monitor.execute("blockdev-add", **{"driver": "file", "filename": path, "node-name": node + "-file"})
        self.monitor.execute("blockdev-create", **{"job-id": node, "options": {
            "driver": "qcow2", "file": node + "-file", "size": self.size_bytes, "backing-file": below, "backing-fmt": kind}})

    def snapshot_prepared(self, number):
        begun, overlays = time.monotonic(), self.overlays(number)
        for name, (node, path, _) in overlays.items():
            self.start_creation(name, node, path)
        for node, _, _ in overlays.values():
            self.monitor.finish_job(node)
            self.monitor.execute("blockdev-add", **{"driver": "qcow2", "node-name": node, "file": node + "-file", "backing": None})
        actions = [{"type": "blockdev-snapshot", "data": {"node": self.tops[name][0], "overlay": node}}
                   for name, (node, _, _) in overlays.items()]
        prepare_s = time.monotonic() - begun
        return prepare_s, self.transaction(actions, overlays)
