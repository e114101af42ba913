#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A token that expired is listed for 30 days, so that its owner can find out why it is refused; then
# it is deleted with some change: at the latest with the next start. Its name is free then, and it
# no longer counts among the tokens that there may be. Tokens without expiry stay.
# GET /limits: expired_token_days.
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main

DAY_US = 24 * 3600 * 1000000
TOKENS_MAX = 1000
FILL = """
WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < %d)
INSERT INTO tokens (id, name, scope, hash, created_at_us, expires_at_us)
SELECT printf('%%08x-0000-4000-8000-000000000000', n), printf('t%%04d', n), 'read', printf('%%064x', n), 1, %d FROM number
"""


def names(daemon):
    return [token["name"] for token in daemon.list("/tokens")]


def test():
    now_us = int(time.time() * 1000000)
    with Daemon() as daemon:
        daemon.start()
        for name in ("endless", "late", "later"):
            daemon.create_token(name, "read")
        with daemon.stopped_database() as database:
            for name, days in (("late", 29), ("later", 31)):
                database.execute("UPDATE tokens SET expires_at_us = ? WHERE name = ?", (now_us - days * DAY_US, name))
        expect(names(daemon) == ["endless", "late"], "after a start: %s", names(daemon))
        daemon.create_token("later", "read")

        with daemon.stopped_database() as database:
            database.execute("DELETE FROM tokens")
            database.execute(FILL % (TOKENS_MAX, now_us - 31 * DAY_US))
        daemon.create_token("another", "read")
        expect("t1000" in names(daemon), "all of a backlog was deleted at once")
        expect(daemon.request("DELETE", "/tokens/t1000").status == 204, "one that is to be deleted")
        for number in range(TOKENS_MAX // 8):
            daemon.create_token("n%d" % number, "read")
        expect(not [name for name in names(daemon) if name[0] == "t"], "left over: %s", names(daemon))


main(test)
