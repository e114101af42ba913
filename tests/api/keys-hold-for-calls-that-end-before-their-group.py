#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Idempotency-Key on calls that end before their group. With respond-async the repetition gets the
# first answer, and there is one group. After 504 the repetition waits for the end of the first
# attempt (409), then it is executed. With dry_run it gets the same plan.
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import GatedDaemon
from snapgroupd import Answer, expect, group_body, main, wait_until


def ask(daemon, key, body, query="", **more):
    connection = daemon.connection()
    connection.request("POST", "/snapshot-groups" + query, json.dumps(body),
                       {"Content-Type": "application/json", "Idempotency-Key": '"%s"' % key, **more})
    answer = Answer(connection.getresponse())
    connection.close()
    return answer


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        daemon.close_gate("prepare")
        body = group_body("async", ["vda"])
        first = ask(daemon, "a", body, Prefer="respond-async")
        again = ask(daemon, "a", body, Prefer="respond-async")
        expect(first.status == again.status == 202 and first.body == again.body, "%s, then %s", first, again)
        expect(again.headers["Idempotency-Replayed"] == "true", "%s", again.headers)
        daemon.open_gate("prepare")
        daemon.await_state("async", "committed")
        expect(ask(daemon, "a", body).body == first.body, "the group's end changes its first answer")

        daemon.close_gate("prepare")
        body = {**group_body("late", ["vda"]), "deadline_ms": 2000}
        expect(ask(daemon, "d", body).status == 504, "the deadline")
        again = ask(daemon, "d", body)
        expect(again.status == 409 and again.body["code"] == "IdempotencyInProgress", "%s", again)
        daemon.open_gate("prepare")
        taken = wait_until(lambda: (lambda answer: answer.status == 201 and answer)(ask(daemon, "d", body)), "201")
        expect(ask(daemon, "d", body).body["id"] == taken.body["id"], "the group is taken twice")

        body = group_body("plan", ["vda"])
        plan = ask(daemon, "p", body, "?dry_run=true")
        expect(plan.status == 200 and ask(daemon, "p", body, "?dry_run=true").body == plan.body, "%s", plan)
        reused = ask(daemon, "p", body)
        expect(reused.status == 422 and reused.body["code"] == "IdempotencyKeyReused", "%s", reused)

        names = sorted(group["name"] for group in daemon.list("/snapshot-groups") if group["state"] == "committed")
        expect(names == ["async", "late"], "committed: %s", names)


main(test)
