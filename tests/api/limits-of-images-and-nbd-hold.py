#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# The limits of images and of NBD that GET /limits lists: what is at one is taken, what is beyond is
# refused, or its connection is closed. Images are made by qemu-img, and one number of their headers
# is changed.
import os
import resource
import socket
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import DEADLINE_S, Daemon, expect, main, run

GIB = 1 << 30
CLUSTER = 65536
ERR_UNSUP, ERR_INVALID, ERR_UNKNOWN, ERR_TOO_BIG = (0x80000000 + number for number in (1, 3, 6, 9))
GO, UNKNOWN_OPTION = 7, 1000


# ---- images ----

def attach(daemon, name, pokes, bytes_in_all=0):
    """Attaches a new image in which (offset, format, value) were written; the answer."""
    path = daemon.image(name)
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "1M")
    with open(path, "r+b") as image:
        for offset, form, value in pokes:
            image.seek(offset)
            image.write(value if form is None else struct.pack(">" + form, value))
        image.truncate(max(bytes_in_all, os.path.getsize(path)))
    return daemon.request("POST", "/devices", {"name": name, "image": name, "format": "qcow2", "read_only": True})


def pair(at, beyond, word):
    expect(at.status == 201, "at the limit: %s", at)
    expect(beyond.status == 422 and beyond.body["code"] == "InvalidBlockFormat" and word in beyond.body["detail"],
           "beyond the limit: %s", beyond)


def qcow2_l1_table_bytes(daemon, limit):
    at, beyond = (attach(daemon, "l1-%d" % entries, [(36, "I", entries), (40, "Q", GIB)], 2 * GIB)
                  for entries in (limit // 8, limit // 8 + 1))
    pair(at, beyond, "L1 table")


def qcow2_refcount_table_bytes(daemon, limit):
    at, beyond = (attach(daemon, "refcounts-%d" % clusters, [(48, "Q", GIB), (56, "I", clusters)], 2 * GIB)
                  for clusters in (limit // CLUSTER, limit // CLUSTER + 1))
    pair(at, beyond, "refcount table")


def snapshots(daemon, name, count, size=40, l1_bytes=0):
    """An image with so many snapshots, of entries of `size` bytes."""
    entry = struct.pack(">QIHHIIQII", 2 * GIB, l1_bytes // 8, 0, 0, 0, 0, 0, 0, size - 40)
    table = entry * count if size == 40 else b"".join(entry.ljust(size, b"\0") for _ in range(count))
    return attach(daemon, name, [(60, "I", count), (64, "Q", GIB), (GIB, None, table)], 4 * GIB)


def qcow2_snapshots(daemon, limit):
    pair(snapshots(daemon, "snapshots", limit), snapshots(daemon, "more-snapshots", limit + 1), "snapshots")


def qcow2_snapshot_table_bytes(daemon, limit):
    pair(snapshots(daemon, "table", limit // 4096, 4096), snapshots(daemon, "large-table", limit // 4096 + 1, 4096), "snapshot table")


def qcow2_snapshot_l1_tables_bytes(daemon, limit):
    one = 32 << 20
    pair(snapshots(daemon, "tables", limit // one, l1_bytes=one), snapshots(daemon, "more-tables", limit // one + 1, l1_bytes=one),
         "snapshot's L1")


def qcow2_backing_name_bytes(daemon, limit):
    at, beyond = (attach(daemon, "backing-%d" % count, [(8, "Q", 1024), (16, "I", count), (1024, None, b"b" * count)])
                  for count in (limit, limit + 1))
    expect("impossible length" not in at.body["detail"], "at the limit: %s", at)
    expect("impossible length" in beyond.body["detail"], "beyond the limit: %s", beyond)


def chain_images(daemon, limit):
    """Overlays that differ in the name of their backing file alone."""
    def name(number):
        return "chain%05d" % number
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", daemon.image(name(0)), "512")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "-b", name(0), "-F", "qcow2", daemon.image(name(1)))
    with open(daemon.image(name(1)), "rb") as image:
        overlay = image.read()
    expect(overlay.count(name(0).encode()) == 1, "the backing file's name")
    for number in range(2, limit + 1):
        with open(daemon.image(name(number)), "wb") as image:
            image.write(overlay.replace(name(0).encode(), name(number - 1).encode()))
    at, beyond = (daemon.request("POST", "/devices", {"name": "c%d" % count, "image": name(count - 1), "format": "qcow2",
                                                      "read_only": True}) for count in (limit, limit + 1))
    pair(at, beyond, "chain")


# ---- NBD ----

class Peer:
    """A client in the handshake."""

    def __init__(self, daemon):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(os.path.join(daemon.runtime, "nbd.sock"))
        self.receive(18)
        self.socket.sendall(struct.pack(">I", 3))

    def receive(self, count):
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            expect(part, "the connection was closed")
            data += part
        return data

    def option(self, option, length, data=None):
        self.socket.sendall(b"IHAVEOPT" + struct.pack(">II", option, length) + (b"\0" * length if data is None else data))

    def reply(self):
        _, _, kind, length = struct.unpack(">QIII", self.receive(20))
        self.receive(length)
        return kind

    def ask(self, *option):
        self.option(*option)
        return self.reply()

    def must_be_closed(self):
        try:
            expect(self.socket.recv(1) == b"", "an answer")
        except ConnectionResetError:
            pass
        self.socket.close()


def nbd_option_bytes(daemon, limit):
    peer = Peer(daemon)
    expect(peer.ask(UNKNOWN_OPTION, limit) == ERR_UNSUP, "at the limit")
    expect(peer.ask(UNKNOWN_OPTION, limit + 1) == ERR_TOO_BIG, "beyond the limit")
    peer.socket.close()


def nbd_skipped_option_bytes(daemon, limit):
    peer = Peer(daemon)
    expect(peer.ask(UNKNOWN_OPTION, limit) == ERR_TOO_BIG, "at the limit")
    peer.option(UNKNOWN_OPTION, limit + 1, b"")
    peer.must_be_closed()


def nbd_export_name_bytes(daemon, limit):
    peer = Peer(daemon)
    for count, answer in ((limit, ERR_UNKNOWN), (limit + 1, ERR_INVALID)):
        got = peer.ask(GO, count + 6, struct.pack(">I", count) + b"n" * count + b"\0\0")
        expect(got == answer, "a name of %d bytes: %x", count, got)
    peer.socket.close()


def nbd_useless_options(daemon, limit):
    peer = Peer(daemon)
    for _ in range(limit):
        expect(peer.ask(UNKNOWN_OPTION, 0) == ERR_UNSUP, "at the limit")
    peer.option(UNKNOWN_OPTION, 0)
    peer.must_be_closed()


def nbd_request_bytes(daemon, limit):
    handle = daemon.nbd("disk")
    handle.set_strict_mode(0)
    expect(len(handle.pread(limit, 0)) == limit, "at the limit")
    try:
        handle.pread(limit + 512, 0)
        expect(False, "beyond the limit")
    except Exception as error:
        expect("Invalid argument" in str(error) or "EINVAL" in str(error) or "Value too large" in str(error), "%s", error)
    handle.shutdown()


def test():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("disk", "raw", 64 << 20)
        limits = daemon.get("/limits")
        here = [name for name in limits if name in globals()]
        expect(len(here) == 12, "%s", here)
        for name in here:
            globals()[name](daemon, limits[name])


main(test)
