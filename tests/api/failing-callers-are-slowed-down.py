#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Who fails too often to prove who it is gets 429 with Retry-After, by its address, and fills the
# log no further. Others at other addresses get 401 as before, and a valid token is served from any
# address. A revocation holds at once for a connection that was served before it, and a lesser scope
# is no failure.
# GET /limits: failed_proofs, failed_proof_interval_ms.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Connection, Daemon, expect, main

BURST, INTERVAL_S = 20, 3  # throttle.h


def ask(port, token, source):
    connection = Connection(port, token, source)
    answer = connection.ask("GET", "/devices")
    connection.close()
    return answer


def fail_until_limited(port, token, source):
    for i in range(100):
        answer = ask(port, token, source)
        if answer.status == 429:
            expect(i >= BURST, "limited after %d failures", i)
            expect(answer.body["code"] == "RateLimited" and answer.body["retryable"], "%s", answer)
            expect(1 <= int(answer.headers["Retry-After"]) <= INTERVAL_S, "%s", answer.headers)
            return
        expect(answer.status == 401, "failure %d: %s", i, answer)
    expect(False, "100 failures and no limit")


def test():
    with Daemon() as daemon:
        daemon.listen_on_tcp()
        daemon.start()
        secret = daemon.create_token("reader", "read")
        fail_until_limited(daemon.port, None, "127.0.0.2")
        fail_until_limited(daemon.port, "sgt_wrong", "127.0.0.3")
        expect(ask(daemon.port, "x", "127.0.0.4").status == 401, "another address is not limited")
        expect(ask(daemon.port, secret, "127.0.0.2").status == 200, "a valid token is served")
        kept = Connection(daemon.port, secret, "127.0.0.5")
        for _ in range(2 * BURST):
            expect(kept.ask("POST", "/tokens", {"name": "x", "scope": "read"}).status == 403, "a lesser scope")
        expect(kept.ask("GET", "/devices").status == 200, "a lesser scope is no failure")
        local = kept.sock.getsockname()
        expect(daemon.request("DELETE", "/tokens/reader").status == 204, "DELETE /tokens/reader")
        expect(kept.sock.getsockname() == local, "the connection is the same")
        expect(kept.ask("GET", "/devices").status == 401, "a revoked token on an open connection")
        with open(daemon.log_path, encoding="utf-8") as log:
            text = log.read()
        expect(0 < text.count("by 127.0.0.2 is refused") < 100, "refusals in the log: %s", text)
        expect(secret not in text and "sgt_" not in text, "a secret is in the log")


main(test)
