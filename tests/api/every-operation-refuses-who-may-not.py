#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Every operation of api/openapi.yaml refuses who may not call it, with the right status and
# challenge: over TCP no token, a wrong one, one of another scheme, an expired and a revoked one and
# each of a lesser scope; over TLS a certificate of another CA, though its name is mapped to a scope
# and a good token comes with it; on the Unix socket a user who is neither root nor the daemon's.
# The same goes for a path that does not exist. With the scope that the operation names it is
# served, and those without one are served to everybody. Each refusal goes to a peer of its own, so
# that none is refused for being one too many.
import contextlib
import http.client
import itertools
import json
import os
import re
import ssl
import subprocess
import sys
import time
from datetime import datetime, timezone

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from openapi import inlined, operations
from snapgroupd import DEADLINE_S, SOURCE_DIR, Connection, Daemon, Failure, expect, main, wait_until

SCOPES = ["read", "snapshot", "admin"]
PEERS = ("127.%d.%d.%d" % (a, b, c) for a in range(1, 9) for b in range(200) for c in range(1, 200))
USERS = itertools.count(60001)
REALM = 'Bearer realm="snapgroupd"'
INVALID = REALM + ', error="invalid_token"'

AS_USER = """
import os, socket, sys
uid = int(sys.argv[2])
os.setgroups([]), os.setgid(uid), os.setuid(uid)
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[1])
peer.sendall(sys.stdin.buffer.read())
print(peer.makefile("rb").read().decode())
"""


def call(daemon, method, path, body, token=None):
    connection = Connection(daemon.port, token, next(PEERS))
    try:
        return connection.ask(method, path, body)
    finally:
        connection.close()


def refused(answer, status, code, challenge, what):
    expect(answer.status == status and answer.body["code"] == code, "%s: %s", what, answer)
    expect(answer.headers.get("WWW-Authenticate") == challenge, "%s: %s", what, answer.headers)


def requests():
    """(method, path, body, scope) of every operation; scope None: open to everybody."""
    for (method, path), (_, operation) in operations().items():
        operation = inlined(operation)
        content = operation.get("requestBody", {"content": {}})["content"]
        examples = [example["value"] for media in content.values() for example in media.get("examples", {}).values()]
        scopes = [scope for need in operation["security"] for scope in need["bearerAuth"]]
        expect(len(scopes) == (1 if operation["security"] else 0), "%s: its scopes", operation["operationId"])
        yield (method, re.sub(r"\{\w+\}", "none", path), examples[0] if examples else None, scopes[0] if scopes else None)
    yield "GET", "/nothing/here", None, "read"


def check_tokens(daemon, secrets, method, path, body, scope):
    for name, challenge in (("none", REALM), ("wrong", INVALID), ("expired", INVALID), ("revoked", INVALID)):
        what = "%s %s: %s token" % (method, path, name)
        refused(call(daemon, method, path, body, secrets[name]), 401, "Unauthorized", challenge, what)
    for lesser in SCOPES[:SCOPES.index(scope)]:
        refused(call(daemon, method, path, body, secrets[lesser]), 403, "InsufficientScope",
                REALM + ', error="insufficient_scope", scope="%s"' % scope, "%s %s: %s" % (method, path, lesser))


def check_user(daemon, method, path, body):
    text = "" if body is None else json.dumps(body)
    request = "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n" \
        "Content-Type: application/json\r\n\r\n%s" % (method, path, len(text), text)
    said = subprocess.run([sys.executable, "-c", AS_USER, os.path.join(daemon.runtime, "api.sock"), str(next(USERS))],
                          input=request.encode(), capture_output=True, check=True).stdout.decode()
    expect(said.startswith("HTTP/1.1 403 ") and '"Forbidden"' in said, "%s %s by another user: %s", method, path, said)


def call_tls(port, context, method, path, body, secret=None):
    """The status; None: the connection was refused."""
    headers = {"Content-Type": "application/json"}
    if secret:
        headers["Authorization"] = "Bearer " + secret
    connection = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE_S, context=context)
    with contextlib.closing(connection):
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            return connection.getresponse().status
        except (ssl.SSLError, ConnectionError):
            return None


def check_certificates(port, contexts, secret, method, path, body):
    for token in (None, secret):
        status = call_tls(port, contexts["client-stranger"], method, path, body, token)
        expect(status is None, "%s %s with a certificate of another CA: %s", method, path, status)
    status = call_tls(port, contexts["client"], method, path, body)
    expect(status not in (None, 401, 403), "%s %s with a certificate of our CA: %s", method, path, status)


def client_contexts(daemon, pki):
    contexts = {}
    for name in ("client", "client-stranger"):
        contexts[name] = ssl.create_default_context(cafile=os.path.join(pki, "ca-cert.pem"))
        contexts[name].load_cert_chain(*(os.path.join(pki, name, "client-%s.pem" % part) for part in ("cert", "key")))
        daemon.arguments += ["--tls-client-scope", name + "=admin"]
    daemon.arguments += ["--listen", "tls:127.0.0.1:0", "--tls-cert-dir", os.path.join(pki, "server")]
    return contexts


def make_expired(daemon):
    """The secret of a token that ends soon, which must not be over when it is made."""
    for doublings in range(8):
        soon = datetime.fromtimestamp(time.time() + 0.5 * (1 << doublings), timezone.utc)
        answer = daemon.request("POST", "/tokens", {"name": "expired", "scope": "admin",
                                                    "expires_at": soon.strftime("%Y-%m-%dT%H:%M:%S.%fZ")})
        if answer.status == 201:
            return answer.body["secret"]
        expect(answer.status == 422 and answer.body["pointer"] == "/expires_at", "%s", answer)
    raise Failure("no token is made in time")


def make_secrets(daemon):
    secrets = {scope: daemon.create_token(scope, scope) for scope in SCOPES}
    secrets.update(none=None, wrong="sgt_" + "A" * 43, revoked=daemon.create_token("revoked", "admin"),
                   expired=make_expired(daemon))
    expect(call(daemon, "GET", "/tokens", None, secrets["revoked"]).status == 200, "it is valid before it is revoked")
    expect(daemon.request("DELETE", "/tokens/revoked").status == 204, "DELETE /tokens/revoked")
    wait_until(lambda: call(daemon, "GET", "/devices", None, secrets["expired"]).status == 401, "a token expires")
    return secrets


def test():
    with Daemon() as daemon:
        pki = os.path.join(daemon.directory, "pki")
        subprocess.run([os.path.join(SOURCE_DIR, "tests/lib/certificates.sh"), pki], check=True, stdout=subprocess.DEVNULL)
        daemon.listen_on_tcp()
        contexts = client_contexts(daemon, pki)
        daemon.start()
        tls_port = int(re.search(r"^api tls:127.0.0.1:(\d+)$", daemon.said, re.M)[1])
        secrets = make_secrets(daemon)
        if os.getuid() == 0:
            os.chmod(daemon.directory, 0o755)
            os.chmod(daemon.runtime, 0o755)
            os.chmod(os.path.join(daemon.runtime, "api.sock"), 0o666)
        for method, path, body, scope in requests():
            if os.getuid() == 0:
                check_user(daemon, method, path, body)
            check_certificates(tls_port, contexts, secrets["admin"], method, path, body)
            if scope:
                check_tokens(daemon, secrets, method, path, body, scope)
            for token in [secrets[scope]] if scope else [None, secrets["wrong"]]:
                answer = call(daemon, method, path, body, token)
                expect(answer.status not in (401, 403), "%s %s with %s: %s", method, path, scope, answer)


main(test)
