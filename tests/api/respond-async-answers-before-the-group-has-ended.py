#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Prefer: respond-async: 202 with the group, `preparing`, while its overlays wait for their storage;
# later it is `committed`, or `aborted` with its problem. What is wrong from the start is refused at
# once. SIGTERM waits for such a group; a killed daemon settles it when it starts.
import json
import os
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from gates import GatedDaemon
from snapgroupd import Answer, expect, group_body, main, wait_until

PREFER = {"Content-Type": "application/json", "Prefer": "wait=0, Respond-Async; x=\"a, b\""}


def prefer(daemon, body, headers):
    connection = daemon.connection()
    connection.request("POST", "/snapshot-groups", json.dumps(body), headers)
    answer = Answer(connection.getresponse())
    connection.close()
    return answer


def begin(daemon, name):
    """A group of vda that waits for its overlay; its id."""
    daemon.close_gate("prepare")
    answer = prefer(daemon, group_body(name, ["vda"]), PREFER)
    expect(answer.status == 202, "%s", answer)
    expect(answer.headers["Preference-Applied"] == "respond-async, wait=0", "%s", answer.headers)
    group = answer.body
    expect(answer.headers["Location"] == "/snapshot-groups/" + group["id"], "%s", answer.headers)
    expect(group["state"] == "preparing" and group["name"] == name, "%s", group)
    expect([member["device"] for member in group["members"]] == ["vda"], "%s", group)
    daemon.await_gate("prepare")
    expect(daemon.get(answer.headers["Location"]) == group, "GET shows another group")
    return group["id"]


def waits(daemon):
    """The end within the wait is the answer; without it there is 202, once the wait is over."""
    answer = prefer(daemon, group_body("in-time", ["vda"]), {**PREFER, "Prefer": "respond-async, wait=60"})
    expect(answer.status == 201 and answer.body["state"] == "committed", "%s", answer)
    expect(answer.headers["Preference-Applied"] == "wait=60", "%s", answer.headers)
    daemon.close_gate("prepare")
    start = time.monotonic()
    answer = prefer(daemon, group_body("late", ["vda"]), {**PREFER, "Prefer": "wait = 1;x, respond-async, wait=60"})
    expect(answer.status == 202 and time.monotonic() - start >= 1, "%s", answer)
    expect(answer.headers["Preference-Applied"] == "respond-async, wait=1", "%s", answer.headers)
    daemon.await_gate("prepare")
    daemon.open_gate("prepare")
    daemon.await_state(answer.body["id"], "committed")
    for text in ("respond-async, wait", "respond-async, wait=x", "respond-async, wait=1x", 'respond-async, wait="1"'):
        answer = prefer(daemon, {"devices": [{"device": "vda"}]}, {**PREFER, "Prefer": text})
        expect(answer.headers["Preference-Applied"] == "respond-async", "Prefer: %s: %s", text, answer.headers)
        daemon.await_state(answer.body["id"], "committed")
    answer = prefer(daemon, {"devices": [{"device": "vda"}]}, {**PREFER, "Prefer": "wait=0"})
    expect(answer.status == 201 and not answer.headers["Preference-Applied"], "wait alone: %s", answer)


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        group = begin(daemon, "committed")
        daemon.open_gate("prepare")
        daemon.await_state(group, "committed")

        waits(daemon)
        group = begin(daemon, "failed")
        with open(daemon.image("vda+failed.qcow2"), "w"):  # now the overlay cannot have its name
            pass
        daemon.open_gate("prepare")
        error = daemon.await_state(group, "aborted")["error"]
        expect(error["code"] == "OpenFileFailed" and error["device"] == "vda", "%s", error)

        answer = prefer(daemon, group_body("none", ["none"]), PREFER)
        expect(answer.status == 404 and not answer.headers["Preference-Applied"], "%s", answer)
        for text in ("respond-asynchronously", "x=\"respond-async, respond-async\"", "handling=lenient"):
            answer = prefer(daemon, {"devices": [{"device": "vda"}]}, {**PREFER, "Prefer": text})
            expect(answer.status == 201, "Prefer: %s: %s", text, answer)

        group = begin(daemon, "terminated")
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not os.path.exists(os.path.join(daemon.runtime, "api.sock")), "the daemon stops")
        expect(daemon.process.poll() is None, "the daemon ended before the group")
        daemon.open_gate("prepare")
        expect(daemon.process.wait(60) == 0, "the daemon's status")
        daemon.process.stdout.close()
        daemon.process = None
        daemon.start()
        expect(daemon.get("/snapshot-groups/" + group)["state"] == "committed", "SIGTERM has aborted the group")

        group = begin(daemon, "killed")
        daemon.kill()
        daemon.open_gate("prepare")
        daemon.start()
        expect(daemon.get("/snapshot-groups/" + group)["error"]["code"] == "InternalError", "the killed group")
        expect(daemon.get("/snapshot-groups/" + group)["state"] == "aborted", "the killed group")


main(test)
