#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# While another program holds the write lock of the database, reads succeed, also while a change
# waits for the lock; the change fails as StoreBusy, retryable, without effect; and succeeds after
# the lock is released.
import os
import sqlite3
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, group_body, main


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "qcow2", 1 << 20)
        daemon.snapshot("g1", ["vda"])
        names = daemon.image_names()
        other = sqlite3.connect(os.path.join(daemon.state, "snapgroupd.db"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answers = []
        change = threading.Thread(target=lambda: answers.append(
            daemon.request("POST", "/snapshot-groups", group_body("g2", ["vda"]))))
        change.start()
        reads = 0
        while change.is_alive():
            expect(daemon.get("/devices/vda")["state"] == "online", "GET /devices/vda")
            expect(len(daemon.get("/snapshot-groups")["items"]) == 1, "GET /snapshot-groups")
            reads += not answers
        change.join()
        expect(answers[0].status == 503 and answers[0].body["code"] == "StoreBusy" and answers[0].body["retryable"],
               "a change while the database is locked: %s", answers[0])
        # If they waited, one would.
        expect(reads > 5, "only %d reads went on meanwhile", reads)
        expect(daemon.image_names() == names, "files: %s", daemon.image_names())
        other.execute("ROLLBACK")
        daemon.snapshot("g2", ["vda"])


main(test)
