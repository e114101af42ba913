#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Holds of a group: each user of it sets and releases his own, by name; both calls may be repeated.
# They are durable, shown wherever the group is, change its ETag, obey conditions, and have events.
# Those that many callers set at once are all there. A group that was aborted, is being deleted or
# was deleted takes none, also while the DELETE runs.
import os
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, at_once, expect, main

GROUP = "/snapshot-groups/g"
ROUNDS = 20


def hold(name, group=GROUP):
    return "%s/holds/%s" % (group, name)


def shown(daemon, holds):
    expect(daemon.get(GROUP)["holds"] == holds, "%s", daemon.get(GROUP))
    listed = [group["holds"] for group in daemon.get("/snapshot-groups?name=g")["items"]]
    expect(listed == [holds], "listed: %s", listed)


def set_and_released(daemon):
    first = daemon.request("GET", GROUP)
    answer = daemon.request("PUT", hold("policy"), X_Request_Id="the-first")
    expect(answer.status == 201 and answer.body["holds"] == ["policy"], "%s", answer)
    expect(answer.headers["Content-Location"] == "/snapshot-groups/" + first.body["id"], "%s", answer.headers)
    expect(answer.headers["Location"] == answer.headers["Content-Location"] + "/holds/policy", "%s", answer.headers)
    tag = daemon.request("GET", GROUP).headers["ETag"]
    expect(answer.headers["ETag"] == tag != first.headers["ETag"], "%s", answer.headers)
    answer = daemon.request("PUT", hold("policy"))
    expect(answer.status == 200 and answer.headers["ETag"] == tag, "again: %s", answer)
    expect(daemon.request("PUT", hold("backup", "/snapshot-groups/" + first.body["id"])).status == 201, "by id")
    shown(daemon, ["backup", "policy"])
    for _ in range(2):
        expect(daemon.request("DELETE", hold("policy")).status == 204, "a release")
    expect(daemon.request("DELETE", hold("back")).status == 204, "a part of a name")
    shown(daemon, ["backup"])
    daemon.kill()
    daemon.start()
    shown(daemon, ["backup"])
    events = [(event["kind"], event["detail"], event["request_id"]) for event in daemon.get("/events?group=g&device=vda")["items"]
              if "hold" in event["detail"]]
    expect([event[:2] for event in events] == [
        (kind, {"name": "g", "kind": "snapshot", "devices": ["vda"], "hold": name})
        for kind, name in (("group.held", "policy"), ("group.held", "backup"), ("group.released", "policy"))], "%s", events)
    expect(events[0][2] == "the-first", "%s", events)


def conditions(daemon):
    tag = daemon.request("GET", GROUP).headers["ETag"]
    for method in ("PUT", "DELETE"):
        answer = daemon.request(method, hold("backup"), If_Match='"00000000-1-0"')
        expect((answer.status, answer.body["code"]) == (412, "PreconditionFailed"), "%s", answer)
    expect(daemon.request("PUT", hold("c"), If_Match=tag).status == 201, "with its tag")
    expect(daemon.request("DELETE", hold("c"), If_Match=tag).status == 412, "with the tag before")
    expect(daemon.request("DELETE", hold("c"), If_Match=daemon.request("GET", GROUP).headers["ETag"]).status == 204, "now")


def many_at_once(daemon):
    names = ["n%02d" % i for i in range(32)]
    statuses = []

    def change(method, name):
        statuses.append(daemon.request(method, hold(name)).status)

    for method, status in (("PUT", 201), ("DELETE", 204)):
        threads = [threading.Thread(target=change, args=(method, name)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect(statuses == [status] * len(names), "%s", statuses)
        shown(daemon, ["backup"] + names if method == "PUT" else ["backup"])
        statuses.clear()


def refused(daemon):
    for name in ("", ".", "%20", "a%2fb", "n" * 129, "%22", "%c3%a4"):
        answer = daemon.request("PUT", hold(name))
        expect(answer.status in (400, 404) and answer.body["code"] in ("InvalidParameter", "NotFound"), "%r: %s", name, answer)
    expect(daemon.request("PUT", hold("n" * 128)).status == 201, "the longest")
    answer = daemon.request("PUT", hold("x"), {})
    expect(answer.status == 400, "with a body: %s", answer)
    answer = daemon.request("POST", "/snapshot-groups", {"name": "failed", "devices": [{"device": "none"}]})
    aborted = daemon.get("/snapshot-groups?state=aborted")["items"][0]["id"]
    for group in ("/snapshot-groups/failed", "/snapshot-groups/" + aborted, "/snapshot-groups/none"):
        answer = daemon.request("PUT", hold("x", group))
        expect((answer.status, answer.body["code"]) == (404, "GroupNotFound"), "%s: %s", group, answer)
    expect(daemon.request("DELETE", hold("x", "/snapshot-groups/" + aborted)).status == 204, "it has none")
    answer = daemon.request("OPTIONS", hold("x"))
    expect(answer.headers["Allow"] == "PUT, DELETE, OPTIONS", "%s", answer.headers)


def deleted(daemon):
    """A hold that is set keeps the group: of a PUT and a DELETE at once, one is refused."""
    for number in range(ROUNDS):
        name = "r%d" % number
        group = "/snapshot-groups/" + daemon.snapshot(name, ["vda"])["id"]
        held, gone = at_once(lambda: daemon.request("PUT", hold("x", group)), lambda: daemon.request("DELETE", group))
        if held.status == 201:
            expect((gone.status, gone.body["code"]) == (409, "GroupHeld"), "held, and deleted: %s", gone)
            expect(daemon.request("DELETE", hold("x", group)).status == 204, "%s: a release", name)
            gone = daemon.request("DELETE", group)
        else:
            expect(held.body["code"] in ("GroupDeleting", "GroupNotFound"), "%s", held)
        expect(daemon.await_job(gone)["state"] == "done", "%s", gone)
        answer = daemon.request("PUT", hold("x", group))
        expect((answer.status, answer.body["code"]) == (404, "GroupNotFound"), "deleted: %s", answer)
        expect(daemon.get(group)["holds"] == [], "%s", daemon.get(group))


def deleting(daemon):
    """A trigger in the database has the job wait."""
    with daemon.stopped_database() as database:
        database.execute("CREATE TRIGGER pauses AFTER INSERT ON jobs BEGIN "
                         "UPDATE jobs SET state = 'paused' WHERE id = NEW.id; END")
    group = "/snapshot-groups/" + daemon.snapshot("late", ["vda"])["id"]
    job = daemon.request("DELETE", group)
    expect(job.status == 202 and daemon.get(group)["state"] == "deleting", "%s", job)
    answer = daemon.request("PUT", hold("x", group))
    expect((answer.status, answer.body["code"]) == (409, "GroupDeleting"), "deleting: %s", answer)
    expect(daemon.request("DELETE", hold("x", group)).status == 204, "it has none")
    answer = daemon.request("PATCH", "/jobs/" + job.body["id"], {"state": "running"})
    expect(answer.status == 200 and daemon.await_job(job)["state"] == "done", "%s", answer)


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        answer = daemon.request("POST", "/snapshot-groups", {"name": "g", "devices": [{"device": "vda"}]})
        expect(answer.status == 201 and answer.body["holds"] == [], "%s", answer)
        set_and_released(daemon)
        conditions(daemon)
        many_at_once(daemon)
        refused(daemon)
        deleted(daemon)
        deleting(daemon)


main(test)
