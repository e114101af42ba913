#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Two disks, of raw and of qcow2, are written all the time, where nothing was before and mostly
# without a flush, while their only group is deleted, so that their live tops are merged. The daemon
# is killed at a random moment of that, KILLS times, and once more when each disk is in the file
# that was attached. After every restart each block holds what was acknowledged, and the job goes on
# under new clients.
import os
import random
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, qcow2_check, wait_until

KILLS = int(os.environ.get("KILLS", "2"))
SEED = int(os.environ.get("SEED", "7"))
SIZE_BYTES = 64 << 30
STRIDE_BYTES = 64 << 10  # a cluster each
BLOCK_BYTES = 512
MOMENT_S = 0.4  # a kill comes within so many seconds of the DELETE
WRITES_PER_FLUSH = 100
FORMATS = {"vda": "raw", "vdb": "qcow2"}


def content(number):
    return number.to_bytes(8, "little") * (BLOCK_BYTES // 8)


class Writer(threading.Thread):
    """Writes one block after the other, each once."""

    def __init__(self, daemon, name, first):
        super().__init__(daemon=True)
        self.handle = daemon.nbd(name)
        self.name, self.first, self.acknowledged = name, first, first
        self.stopping = threading.Event()

    def run(self):
        import nbd
        try:
            while not self.stopping.is_set():
                self.handle.pwrite(content(self.acknowledged + 1), self.acknowledged * STRIDE_BYTES)
                self.acknowledged += 1
                if self.acknowledged % WRITES_PER_FLUSH == 0:
                    self.handle.flush()
        except nbd.Error:
            pass

    def stop(self):
        self.stopping.set()
        self.join()
        self.handle = None

    def verify(self, daemon):
        handle = daemon.nbd(self.name)
        for number in range(self.first, self.acknowledged):
            expect(bytes(handle.pread(BLOCK_BYTES, number * STRIDE_BYTES)) == content(number + 1),
                   "%s: block %d of %d to %d is lost", self.name, number, self.first, self.acknowledged)
        handle.shutdown()


def write_on(daemon, writers):
    """The next ones, after a little."""
    following = [Writer(daemon, writer.name, writer.acknowledged + 1) for writer in writers]
    for writer in following:
        writer.start()
        wait_until(lambda: writer.acknowledged > writer.first + 5, "the writer to write")
    return following


class Delete(threading.Thread):
    def __init__(self, daemon, group):
        super().__init__(daemon=True)
        self.daemon_, self.group = daemon, group

    def run(self):
        try:
            self.daemon_.request("DELETE", "/snapshot-groups/" + self.group)
        except Exception:  # killed: however it shows
            pass


def is_deleted(daemon, group):
    return daemon.request("DELETE", "/snapshot-groups/" + group).status == 404


def await_one_file(daemon, group):
    wait_until(lambda: is_deleted(daemon, group), "the job to go on")
    for name, image_format in FORMATS.items():
        chain = daemon.chain(name)
        expect(chain == [daemon.image("%s.%s" % (name, image_format))], "%s", chain)


def kill_and_verify(daemon, writers):
    daemon.kill()
    for writer in writers:
        writer.stop()
    daemon.start()
    for writer in writers:
        writer.verify(daemon)
    return write_on(daemon, writers)


def kill_once(daemon, writers, group, moment):
    daemon.snapshot(group, list(FORMATS))
    delete = Delete(daemon, group)
    delete.start()
    time.sleep(moment)  # the test draws the moment; nothing is awaited
    writers = kill_and_verify(daemon, writers)
    delete.join()
    await_one_file(daemon, group)
    return kill_and_verify(daemon, writers)  # what the new tops have taken is not lost either


def test():
    source = random.Random(SEED)
    with Daemon() as daemon:
        daemon.start_with(FORMATS, SIZE_BYTES)
        writers = [Writer(daemon, name, 0) for name in FORMATS]
        for writer in writers:
            writer.start()
        for kill in range(KILLS):
            writers = kill_once(daemon, writers, "g%d" % kill, source.random() * MOMENT_S)
        for writer in writers:
            writer.stop()
            writer.verify(daemon)
        daemon.stop()
        expect(daemon.image_names() == ["vda.raw", "vdb.qcow2"], "%s", daemon.image_names())
        qcow2_check(daemon.image("vdb.qcow2"))
        left = os.listdir(os.path.join(daemon.runtime, "journals"))
        expect(not left, "SIGTERM leaves journals: %s", left)


main(test)
