#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A key is kept for --idempotency-retention seconds: until then its request gets the first answer,
# from then on it is a new request. Keys that have ended are deleted when others come. A reload
# changes the time for keys that there are, too.
# GET /limits: idempotency_key_seconds.
import os
import signal
import sqlite3
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, wait_until

HOUR_S = 3600


def configure(daemon, seconds):
    with open(os.path.join(daemon.directory, "snapgroupd.conf"), "w") as config:
        config.write("[snapgroupd]\nidempotency-retention = %d\n" % seconds)


def create(daemon, name):
    return daemon.request("POST", "/tokens", {"name": name, "scope": "read"}, Idempotency_Key=name)


def age(daemon, name, seconds):
    with daemon.stopped_database() as database:
        database.execute("UPDATE idempotency_keys SET created_at_us = created_at_us - ? WHERE key = ?",
                         (seconds * 1000000, name))


def keys(daemon):
    database = sqlite3.connect(os.path.join(daemon.state, "snapgroupd.db"))
    try:
        return {key for (key,) in database.execute("SELECT key FROM idempotency_keys")}
    finally:
        database.close()


def test():
    with Daemon() as daemon:
        daemon.arguments += ["--config", os.path.join(daemon.directory, "snapgroupd.conf")]
        configure(daemon, HOUR_S)
        daemon.start()
        for name in ("young", "old", "older"):
            expect(create(daemon, name).status == 201, "a token")
        age(daemon, "young", HOUR_S - 600)
        age(daemon, "old", HOUR_S + 600)
        age(daemon, "older", HOUR_S + 601)
        answer = create(daemon, "young")
        expect(answer.status == 201 and answer.headers["Idempotency-Replayed"] == "true", "in time: %s", answer)
        answer = create(daemon, "old")
        expect(answer.status == 409 and answer.headers["Idempotency-Replayed"] is None, "ended: %s", answer)
        expect(keys(daemon) == {"young", "old"}, "the ended key is deleted: %s", keys(daemon))

        configure(daemon, HOUR_S // 6)
        os.kill(daemon.pid, signal.SIGHUP)
        with open(daemon.log_path, encoding="utf-8") as log:
            wait_until(lambda: "reloaded: changed --idempotency-retention" in log.readline(), "the reload")
        answer = create(daemon, "young")
        expect(answer.status == 409, "a shorter time holds at once: %s", answer)


main(test)
