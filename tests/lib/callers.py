# SPDX-License-Identifier: Apache-2.0
"""Connections for tests that write their own bytes to the REST interface: over its Unix socket, TCP
and TLS.

    context = serve_tls(daemon)  # before daemon.start()
    with connect_tls(daemon, context) as peer:
        peer.sendall(b"GET /livez HTTP/1.1\\r\\n...")
"""
import os
import re
import socket
import ssl
import subprocess

from snapgroupd import DEADLINE_S, SOURCE_DIR, expect


def connect_unix(daemon):
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(DEADLINE_S)
    peer.connect(os.path.join(daemon.runtime, "api.sock"))
    return peer


def connect_tcp(port):
    """As curl and http.client do it: nothing waits until what was sent before is acknowledged."""
    peer = socket.create_connection(("127.0.0.1", port), DEADLINE_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer


def serve_tls(daemon):
    """The daemon will listen at a port with TLS, besides where it listens otherwise. Returns the
    context of a client whose certificate may do all."""
    pki = os.path.join(daemon.directory, "pki")
    subprocess.run([os.path.join(SOURCE_DIR, "tests/lib/certificates.sh"), pki], check=True, stdout=subprocess.DEVNULL)
    daemon.arguments += ["--listen", "tls:127.0.0.1:0", "--tls-cert-dir", os.path.join(pki, "server"),
                         "--tls-client-scope", "client=admin"]
    context = ssl.create_default_context(cafile=os.path.join(pki, "ca-cert.pem"))
    context.load_cert_chain(*(os.path.join(pki, "client/client-%s.pem" % part) for part in ("cert", "key")))
    return context


def connect_tls(daemon, context):
    port = int(re.search(r"^api tls:127.0.0.1:(\d+)$", daemon.said, re.M)[1])
    return context.wrap_socket(connect_tcp(port), server_hostname="localhost", suppress_ragged_eofs=False)


def subscribers(connections, limit):
    """Each of the connections, one more than the limit, asks for events; the last is refused."""
    held = []
    for i, connection in enumerate(connections):
        headers = {"Authorization": "Bearer " + connection.token} if connection.token else {}
        connection.request("GET", "/events", headers={"Accept": "text/event-stream", **headers})
        response = connection.getresponse()
        held.append((connection, response))
        expect(response.status == (200 if i < limit else 503), "subscriber %d: %d", i, response.status)
    for connection, response in held:
        response.close()
        connection.close()
