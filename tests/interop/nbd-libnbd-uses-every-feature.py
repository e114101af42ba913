#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""libnbd with and without structured replies: reads in chunks, DF, block status with REQ_ONE,
cache, fast zero."""
import errno
import os
import sys

import nbd

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main  # noqa: E402

SIZE_BYTES = 4 << 20
MIB = 1 << 20


def connect(daemon, structured=True, contexts=()):
    handle = nbd.NBD()
    handle.set_request_structured_replies(structured)
    for context in contexts:
        handle.add_meta_context(context)
    handle.connect_uri(daemon.nbd_uri("vda"))
    return handle


def fails_with(number, call):
    try:
        call()
    except nbd.Error as error:
        expect(error.errnum == number, "it fails with %s, not %s", error.errnum, number)
        return
    expect(False, "it succeeds")


def chunks_of(handle, offset, length, flags=0):
    """What pread_structured is told: (offset, length, status) of each chunk, and the data."""
    chunks = []

    def chunk(data, at, status, _error):
        chunks.append((at, len(data), status))
    data = handle.pread_structured(length, offset, chunk, flags)
    return sorted(chunks), data


def check_reads(daemon):
    handle = connect(daemon)
    expect(handle.get_structured_replies_negotiated(), "no structured replies")
    handle.pwrite(b"a" * MIB, 0)
    handle.pwrite(b"b" * 4096, 3 * MIB)
    for flags in (0, nbd.CMD_FLAG_DF):
        chunks, data = chunks_of(handle, 0, SIZE_BYTES, flags)
        expect(sum(length for _, length, _ in chunks) == SIZE_BYTES, "chunks: %s", chunks)
        expect(data == b"a" * MIB + bytes(2 * MIB) + b"b" * 4096 + bytes(MIB - 4096), "the data differ")
        expect(not flags or len(chunks) == 1, "DF, and %d chunks", len(chunks))
    handle.shutdown()
    plain = connect(daemon, structured=False)
    expect(not plain.get_structured_replies_negotiated() and not plain.can_df(), "structured, unasked")
    expect(plain.pread(SIZE_BYTES, 0) == data, "the data differ with simple replies")
    plain.shutdown()


def extents_of(handle, offset, length, flags=0):
    found = {}

    def extent(context, at, entries, _error):
        expect(at == offset, "extents from %d, not %d", at, offset)
        found[context] = list(zip(entries[::2], entries[1::2]))
    handle.block_status(length, offset, extent, flags)
    return found


def check_status(daemon):
    handle = connect(daemon, contexts=("base:allocation", "qemu:allocation-depth", "x:nothing"))
    expect(handle.can_meta_context("base:allocation"), "no base:allocation")
    expect(not handle.can_meta_context("x:nothing"), "x:nothing")
    found = extents_of(handle, 0, SIZE_BYTES)
    expect(found["base:allocation"][0] == (MIB, 0), "base:allocation: %s", found)
    expect(found["base:allocation"][1] == (2 * MIB, 3), "base:allocation: %s", found)
    expect(found["qemu:allocation-depth"][:2] == [(MIB, 1), (2 * MIB, 0)], "depth: %s", found)
    found = extents_of(handle, 4096, SIZE_BYTES - 4096, nbd.CMD_FLAG_REQ_ONE)
    expect(found == {"base:allocation": [(MIB - 4096, 0)], "qemu:allocation-depth": [(MIB - 4096, 1)]},
           "REQ_ONE: %s", found)
    handle.shutdown()


def check_changes(daemon):
    handle = connect(daemon, contexts=("base:allocation",))
    expect(handle.can_cache() and handle.can_fast_zero() and handle.can_multi_conn(), "a feature is missing")
    handle.cache(SIZE_BYTES, 0)
    handle.zero(MIB, 0, nbd.CMD_FLAG_FAST_ZERO)
    expect(handle.pread(MIB, 0) == bytes(MIB), "it is not zero")
    fails_with(errno.ENOTSUP, lambda: handle.zero(1000, 3 * MIB + 100, nbd.CMD_FLAG_FAST_ZERO))
    expect(handle.pread(4096, 3 * MIB) == b"b" * 4096, "a refused request has changed something")
    handle.zero(1000, 3 * MIB + 100)
    expect(handle.pread(4096, 3 * MIB) == b"b" * 100 + bytes(1000) + b"b" * 2996, "zeros are elsewhere")
    handle.shutdown()


def flush_covers_all_connections(daemon):
    """Multi-conn: what one connection has written is durable once another one has flushed."""
    one, other = connect(daemon), connect(daemon)
    one.pwrite(b"c" * 4096, 2 * MIB)
    other.flush()
    daemon.kill()
    daemon.start()
    again = connect(daemon)
    expect(again.pread(4096, 2 * MIB) == b"c" * 4096, "what was flushed is gone")
    again.shutdown()


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", SIZE_BYTES)
        check_reads(daemon)
        check_status(daemon)
        check_changes(daemon)
        flush_covers_all_connections(daemon)


main(test)
