#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Clients that connect to a port with TLS and say nothing, half a hello, or nonsense hold nobody up,
# however many they are: others are served meanwhile, and SIGTERM ends the daemon at once. A client
# that hangs up without a word at each point of an exchange leaves nothing behind.
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import DEADLINE_S, SOURCE_DIR, Daemon, expect, is_sanitized, main, wait_until

SILENT = 300  # more than one address may have
STOP_S = 8 if is_sanitized() else 5  # less than HTTP_HEAD_S, which ends them anyway
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def client_context(pki):
    return ssl.create_default_context(cafile=os.path.join(pki, "ca-cert.pem"))


def hello(context):
    """The first bytes of a handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def connect(port, text=b""):
    peer = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
    peer.sendall(text)
    return peer


def reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def is_served(port, context):
    with context.wrap_socket(connect(port), server_hostname="localhost") as peer:
        peer.sendall(GET)
        return peer.recv(4096).startswith(b"HTTP/1.1 200 ")


def threads(daemon):
    return len(os.listdir("/proc/%d/task" % daemon.pid))


def test():
    with Daemon() as daemon:
        pki = os.path.join(daemon.directory, "pki")
        subprocess.run([os.path.join(SOURCE_DIR, "tests/lib/certificates.sh"), pki], check=True,
                       stdout=subprocess.DEVNULL)
        daemon.arguments += ["--listen", "tls:127.0.0.1:0", "--tls-cert-dir", os.path.join(pki, "server")]
        daemon.start()
        port = int(re.search(r"^api tls:127.0.0.1:(\d+)$", daemon.said, re.M)[1])
        context = client_context(pki)
        first = hello(context)
        expect(is_served(port, context), "nobody is served")
        idle = threads(daemon)

        for text in (b"", first[:1], first[:100], first, b"nonsense\r\n\r\n", GET, b"\x16\x03\x01\xff\xff"):
            reset(connect(port, text))
        for text in (b"", GET[:10], GET):
            peer = context.wrap_socket(connect(port), server_hostname="localhost")
            peer.sendall(text)
            reset(peer)
        expect(connect(port, GET).recv(4096)[:13] == b"HTTP/1.1 400 ", "plain HTTP is not told to use TLS")
        wait_until(lambda: threads(daemon) <= idle, "connections that were reset have ended")

        held = [connect(port, (b"", first[:1], first[:100], first)[i % 4]) for i in range(SILENT)]
        expect(is_served(port, context), "nobody is served beside %d that hang", SILENT)
        begin = time.monotonic()
        daemon.stop()
        expect(time.monotonic() - begin < STOP_S, "the stop took %f s", time.monotonic() - begin)
        for peer in held:
            peer.close()


main(test)
