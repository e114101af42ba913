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
    expect(answer.headers["Preference-Applied"] == "respond-async", "%s", answer.headers)
    group = answer.body
    expect(answer.headers["Location"] == "/snapshot-groups/" + group["id"], "%s", answer.headers)
    expect(group["state"] == "preparing" and group["name"] == name, "%s", group)
    expect([member["device"] for member in group["members"]] == ["vda"], "%s", group)
    daemon.await_gate("prepare")
    expect(daemon.get(answer.headers["Location"]) == group, "GET shows another group")
    return group["id"]


def test():
    with GatedDaemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        group = begin(daemon, "committed")
        daemon.open_gate("prepare")
        daemon.await_state(group, "committed")

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
