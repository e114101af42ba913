#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A writer that goes on through a disk reads nothing of the image behind what the file had: a new
table holds zeros, and is not read. The kernel takes such a read for part of a stream and reads
ahead, which costs the writer milliseconds. What was written reads right, to qemu-io as well.
"""
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import nbd
from snapgroupd import Daemon, expect, main, run
from strace import Strace

CLUSTER, TABLES = 4096, 4
TABLE_REACH = CLUSTER // 16 * CLUSTER  # entries of extended L2 tables have 16 bytes
READ = re.compile(r"pread64\(\d+<(.*)>, .*, (\d+)\) = \d+$")


def write_on(uri, size_bytes):
    handle = nbd.NBD()
    handle.connect_uri(uri)
    for offset in range(0, size_bytes, TABLE_REACH // 4):
        handle.pwrite(b"s" * (TABLE_REACH // 4), offset)
    handle.flush()
    handle.shutdown()


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 2 * TABLES * TABLE_REACH, cluster_size_bytes=CLUSTER)
        image = os.path.join(daemon.images, "vda.qcow2")
        had_bytes = os.path.getsize(image)
        with Strace(daemon.pid, "trace=pread64", all_threads=True, output=os.path.join(daemon.directory, "reads")) as strace:
            write_on(daemon.nbd_uri("vda"), TABLES * TABLE_REACH)
        reads = [match for match in map(READ.search, strace.lines) if match and match[1] == image]
        expect(reads, "strace saw no read of the image")
        behind = [match[0] for match in reads if int(match[2]) >= had_bytes]
        expect(not behind, "new parts of the image were read: %s", behind)
        daemon.stop()
        run("qemu-io", "-r", "-f", "qcow2", "-c", "read -P %d 0 %d" % (ord("s"), TABLES * TABLE_REACH), image)
        run("qemu-img", "check", "-q", image)


main(test)
