#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# POST /tokens with an Idempotency-Key makes one token, and its secret is in the first reply only:
# neither in that to the repeated request, also after a restart and if the answer was not kept, nor
# in the database.
import os
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Connection, Daemon, expect, main


def post(daemon, name="ci"):
    return daemon.request("POST", "/tokens", {"name": name, "scope": "read"}, Idempotency_Key="key-1")


def check_replay(daemon, first):
    answer = post(daemon)
    wanted = {name: value for name, value in first.body.items() if name != "secret"}
    expect(answer.status == 201 and answer.body == wanted, "%s, then %s", first, answer)
    expect(answer.headers["Location"] == first.headers["Location"], "%s", answer.headers)
    expect(answer.headers["Idempotency-Replayed"] == "true", "%s", answer.headers)


def test():
    with Daemon() as daemon:
        daemon.listen_on_tcp()
        daemon.start()
        first = post(daemon)
        secret = first.body["secret"]
        check_replay(daemon, first)
        expect(post(daemon, "other").body["code"] == "IdempotencyKeyReused", "another request with the key")
        daemon.restart()
        check_replay(daemon, first)
        with daemon.stopped_database() as database:
            database.execute("UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL")
        check_replay(daemon, first)
        expect(len(daemon.list("/tokens")) == 1, "one token")
        expect(Connection(daemon.port, secret).ask("GET", "/devices").status == 200, "the secret is valid")
        found = subprocess.run(["grep", "-rlF", secret, daemon.directory], stdout=subprocess.PIPE, text=True, check=False)
        expect(found.returncode == 1, "the secret is in %s", found.stdout)


main(test)
