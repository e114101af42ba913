#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: slow
# timeout: 7200
#
# fio finds everything that it wrote before a SIGKILL of the daemon, flushed or not: eight disks,
# one fio each, which writes 4 KiB at random with checksums, without flushes. The daemon is killed
# at a random moment, KILLS times (default 20). fio records its acknowledged writes
# (--verify_state_save) and verifies them; qemu-img finds no error before the restart. Between two
# kills a group of all disks is taken, so that clusters are mapped anew over old content every time.
# One request at a time, since with more of them fio counts requests in flight as written; and each
# block once, since a verifier that loops may read past the last write.
import json
import os
import random
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, qcow2_check, wait_until

KILLS = int(os.environ.get("KILLS", "20"))
SEED = int(os.environ.get("SEED", "2012"))
SIZE_BYTES = 512 << 20  # more than a fio writes until it is killed
GROUPS_MAX = 24  # then everything starts afresh
MOMENT_S = 0.5  # a kill comes within so many seconds after all write
# Cluster size and extended_l2 of an image and its overlays; None: raw, with default overlays.
DISKS = {
    "vda": (64 << 10, False), "vdb": (512, False), "vdc": (16 << 10, True), "vdd": (128 << 10, True),
    "vde": (128 << 10, False), "vdf": (2 << 20, False), "vdg": None, "vdh": None}


class Fio:
    """The writer of one disk, and after the kill its verifier."""

    def __init__(self, daemon, name, directory, seed):
        self.state = os.path.join(directory, "local-%s-0-verify.state" % name)
        self.command = ["fio", "--name=" + name, "--ioengine=nbd", "--uri=" + daemon.nbd_uri(name), "--rw=randwrite",
                        "--bs=4k", "--iodepth=1", "--size=%d" % SIZE_BYTES, "--randseed=%d" % seed,
                        "--verify=crc32c", "--output-format=json"]
        self.directory = directory

    def start(self, *options):
        self.process = subprocess.Popen(self.command + list(options), cwd=self.directory,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def write(self):
        self.start("--do_verify=0", "--verify_state_save=1")

    def verify(self):
        expect(os.path.exists(self.state), "fio left no account of what it wrote")
        self.start("--verify_only", "--verify_state_load=1", "--verify_state_save=0")

    def end(self):
        self.output = self.process.communicate()[0]
        return self.process.returncode

    def blocks(self):
        """How many were verified."""
        return json.loads(self.output[self.output.index("{"):])["jobs"][0]["read"]["total_ios"]


def devices_make(daemon):
    daemon.start()
    for name, shape in DISKS.items():
        if shape is None:
            daemon.create_device(name, "raw", SIZE_BYTES)
        else:
            daemon.create_device(name, "qcow2", SIZE_BYTES, cluster_size_bytes=shape[0], extended_l2=shape[1])


def tops(daemon):
    return [daemon.image(device["top"]) for device in daemon.list("/devices")]


def times_written(paths):
    return [os.stat(path).st_mtime_ns for path in paths]


def step(daemon, source, directory):
    """One kill. Returns how many blocks were verified."""
    writers = [Fio(daemon, name, directory, source.randrange(1 << 30)) for name in DISKS]
    paths = tops(daemon)
    before = times_written(paths)
    for writer in writers:
        writer.write()
    wait_until(lambda: all(new != old for new, old in zip(times_written(paths), before)), "all eight to write")
    time.sleep(source.random() * MOMENT_S)  # the moment is what the test draws; nothing is awaited
    daemon.kill()
    for writer in writers:
        expect(writer.end() != 0, "fio did not see the daemon go: %s", writer.output)
    for path in paths:
        if not path.endswith(".raw"):
            qcow2_check(path)
    daemon.start()
    for writer in writers:
        writer.verify()
    for writer in writers:
        expect(writer.end() == 0, "fio misses what it was told is written: %s", writer.output)
        os.unlink(writer.state)
    return sum(writer.blocks() for writer in writers)


def test():
    source = random.Random(SEED)
    blocks = groups = 0
    with Daemon() as daemon:
        devices_make(daemon)
        for kill in range(KILLS):
            blocks += step(daemon, source, daemon.directory)
            groups += 1
            daemon.snapshot("g%d" % kill, list(DISKS))
            if groups > GROUPS_MAX:
                daemon.stop()
                daemon.wipe()
                devices_make(daemon)
                groups = 0
        daemon.stop()
    print("%d kills, %d blocks verified" % (KILLS, blocks))


main(test)
