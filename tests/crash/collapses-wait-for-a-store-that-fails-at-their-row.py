#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The row that makes the image beneath a live top the device's top cannot be written, or it was, but
# cannot be synced, and the database cannot be opened again for a while. Nobody knows which of both
# images is the top then. Clients go on meanwhile: what they write is there when the database is
# back, and when the daemon is killed, or ended, before that.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import GatedDaemon
from snapgroupd import expect, main, qcow2_check, wait_until
from strace import Strace

MIB = 1 << 20
SIZE_BYTES = 4 * MIB
FAULTS = {"written": "pwrite64", "synced": "fdatasync"}


def is_ready(daemon):
    return daemon.request("GET", "/readyz").status == 200


def begin(daemon, group):
    """A client, and what it has written so far; the job is about to write the row."""
    daemon.snapshot(group, ["vda"])
    daemon.close_gate("collapsed")
    handle = daemon.nbd("vda")
    handle.pwrite(b"1" * MIB, 0)
    answer = daemon.request("DELETE", "/snapshot-groups/" + group)
    expect(answer.status == 202, "%s", answer)
    daemon.await_gate("collapsed")
    return handle, bytearray(handle.pread(SIZE_BYTES, 0))


def fail(daemon, call):
    database = os.path.join(daemon.state, "snapgroupd.db")
    strace = Strace(daemon.pid, "trace=openat," + call, "inject=openat,%s:error=EIO" % call,
                    output=os.path.join(daemon.directory, "strace"), all_threads=True)
    strace.command += ["-P", database, "-P", database + "-wal"]
    return strace


def write(handle, known, data, offset):
    handle.pwrite(data, offset)
    known[offset:offset + len(data)] = data


def await_one_file(daemon, group, known):
    wait_until(lambda: is_ready(daemon), "the database to be back")
    wait_until(lambda: daemon.request("DELETE", "/snapshot-groups/" + group).status == 404, "the job to go on")
    chain = daemon.chain("vda")
    expect(chain == [daemon.image("vda.qcow2")], "%s", chain)
    handle = daemon.nbd("vda")
    expect(handle.pread(SIZE_BYTES, 0) == known, "what was written is lost")
    handle.shutdown()


def case(daemon, fault, end):
    group = fault + "-" + end
    handle, known = begin(daemon, group)
    with fail(daemon, FAULTS[fault]) as strace:
        daemon.open_gate("collapsed")
        wait_until(lambda: not is_ready(daemon), "the store to fail")
        write(handle, known, b"2" * 1000, 3000)
        write(handle, known, b"3" * MIB, 2 * MIB)
        if end == "kill":
            daemon.kill()
        elif end == "stop":
            handle = None
            daemon.stop()
    expect(strace.injected, "nothing has failed")
    if end == "back":
        write(handle, known, b"4" * 1000, 5000)
    else:
        daemon.start()
    await_one_file(daemon, group, known)


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        for fault in FAULTS:
            case(daemon, fault, "back")
            case(daemon, fault, "kill")
        case(daemon, "written", "stop")  # which waits for the job for 12 s
        daemon.stop()
        expect(daemon.image_names() == ["vda.qcow2"], "%s", daemon.image_names())
        qcow2_check(daemon.image("vda.qcow2"))


main(test)
