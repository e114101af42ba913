#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Every operation of api/openapi.yaml refuses who may not call it, with the right status and
# challenge: over TCP no token, a wrong one, one of another scheme, an expired and a revoked one and
# each of a lesser scope; on the Unix socket a user who is neither root nor the daemon's. The same
# goes for a path that does not exist. With the scope that the operation names it is served, and
# those without one are served to everybody. Each refusal goes to a peer of its own, so that none is
# refused for being one too many.
import itertools
import json
import os
import re
import subprocess
import sys
import time
from datetime import datetime, timezone

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from openapi import inlined, operations
from snapgroupd import Connection, Daemon, expect, main, wait_until

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


def make_secrets(daemon):
    secrets = {scope: daemon.create_token(scope, scope) for scope in SCOPES}
    soon = datetime.fromtimestamp(time.time() + 0.5, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    secrets.update(none=None, wrong="sgt_" + "A" * 43, revoked=daemon.create_token("revoked", "admin"),
                   expired=daemon.create_token("expired", "admin", expires_at=soon))
    expect(call(daemon, "GET", "/tokens", None, secrets["revoked"]).status == 200, "it is valid before it is revoked")
    expect(daemon.request("DELETE", "/tokens/revoked").status == 204, "DELETE /tokens/revoked")
    wait_until(lambda: call(daemon, "GET", "/devices", None, secrets["expired"]).status == 401, "a token expires")
    return secrets


def test():
    with Daemon() as daemon:
        daemon.listen_on_tcp()
        daemon.start()
        secrets = make_secrets(daemon)
        if os.getuid() == 0:
            os.chmod(daemon.directory, 0o755)
            os.chmod(daemon.runtime, 0o755)
            os.chmod(os.path.join(daemon.runtime, "api.sock"), 0o666)
        for method, path, body, scope in requests():
            if os.getuid() == 0:
                check_user(daemon, method, path, body)
            if scope:
                check_tokens(daemon, secrets, method, path, body, scope)
            for token in [secrets[scope]] if scope else [None, secrets["wrong"]]:
                answer = call(daemon, method, path, body, token)
                expect(answer.status not in (401, 403), "%s %s with %s: %s", method, path, scope, answer)


main(test)
