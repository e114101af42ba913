#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# QEMU is started with what `attach vda --as qemu` prints. The daemon is killed with SIGKILL, and
# what is written meanwhile waits, is done once the daemon is there again, and is no error. Over TLS
# the printed text works as well; a frozen member is read and not written to.
import json
import os
import re
import socket
import subprocess
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import BUILD_DIR, DEADLINE_S, Daemon, SOURCE_DIR, expect, main, run, wait_until

SNAPGROUPCTL = os.environ.get("SNAPGROUPCTL", os.path.join(BUILD_DIR, "snapgroupctl"))

DISK = "/machine/peripheral-anon/device[0]/virtio-backend"  # the one disk that was pasted


class Qemu:
    """A QEMU that does not run its guest, started by a shell with the pasted text; its disks are
    used by commands of its monitor."""

    def __init__(self, daemon, text):
        self.path = os.path.join(daemon.directory, "qmp.sock")
        line = "exec qemu-system-x86_64 -accel tcg -nodefaults -display none -S -qmp unix:%s,server=on,wait=off " % self.path
        text = "\n".join(part for part in text.splitlines() if not part.startswith("#"))
        self.output = open(os.path.join(daemon.directory, "qemu.out"), "w+")
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "bash", "-c", line + text],
                                        stdin=subprocess.DEVNULL, stdout=self.output)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE_S)
        wait_until(self.is_connected, "QEMU's monitor")
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.ask("qmp_capabilities")

    def is_connected(self):
        expect(self.process.poll() is None, "QEMU ends with %s", self.process.poll())
        return self.socket.connect_ex(self.path) == 0

    def ask(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "event" not in answer:
                return answer

    def io(self, command):
        """A command of qemu-io; returns what it says, on QEMU's standard output."""
        at = os.fstat(self.output.fileno()).st_size
        answer = self.ask("human-monitor-command", **{"command-line": 'qemu-io -d %s "%s"' % (DISK, command)})
        return os.pread(self.output.fileno(), 4096, at).decode() + answer["return"]

    def end(self):
        self.file.close()
        self.socket.close()
        self.process.kill()
        self.process.wait()
        self.output.close()
        os.unlink(self.path)


def recipe(daemon, *arguments):
    return run(SNAPGROUPCTL, "--socket", os.path.join(daemon.runtime, "api.sock"), "attach", *arguments, "--as", "qemu")


def is_read(qemu, command):
    said = qemu.io(command)
    return "read" in said and "ailed" not in said


def waits(daemon):
    qemu = Qemu(daemon, recipe(daemon, "vda"))
    said = qemu.io("write -P 1 0 64k")
    expect("wrote" in said, "the disk is not written to: %s", said)
    daemon.kill()
    said = []
    writer = threading.Thread(target=lambda: said.append(qemu.io("write -P 2 4k 64k")))
    writer.start()
    writer.join(1)
    expect(writer.is_alive(), "the write did not wait: %s", said)
    daemon.start()
    writer.join(DEADLINE_S)
    expect(not writer.is_alive() and "wrote" in said[0] and "ailed" not in said[0], "the write after the kill: %s", said)
    expect(is_read(qemu, "read -P 1 0 4k") and is_read(qemu, "read -P 2 4k 64k"), "the content is another")
    qemu.end()


def frozen(daemon):
    daemon.snapshot("one", ["vda"])
    qemu = Qemu(daemon, recipe(daemon, "vda@one"))
    expect(is_read(qemu, "read -P 2 4k 64k"), "the frozen disk cannot be read")
    expect("wrote" not in qemu.io("write -P 3 0 4k"), "the frozen disk was written to")
    qemu.end()


def over_tls(daemon, pki):
    port = re.search(r"^nbd 127.0.0.1:(\d+)$", daemon.said, re.M)[1]
    qemu = Qemu(daemon, recipe(daemon, "vda", "--nbd", "tls:localhost:" + port, "--cert-dir", os.path.join(pki, "client")))
    expect(is_read(qemu, "read -P 2 4k 64k"), "the disk cannot be read over TLS")
    qemu.end()


def test():
    with Daemon() as daemon:
        pki = os.path.join(daemon.directory, "pki")
        run(os.path.join(SOURCE_DIR, "tests/lib/certificates.sh"), pki)
        daemon.arguments += ["--nbd", "unix:" + os.path.join(daemon.runtime, "nbd.sock"), "--nbd", "127.0.0.1:0",
                             "--nbd-tls", "optional", "--nbd-tls-cert-dir", os.path.join(pki, "server"),
                             "--nbd-tls-verify-peer"]
        daemon.start()
        daemon.create_device("vda", "qcow2", 64 << 20)
        waits(daemon)
        frozen(daemon)
        over_tls(daemon, pki)


main(test)
