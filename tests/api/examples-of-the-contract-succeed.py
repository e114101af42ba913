#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# Each example of api/openapi.yaml is sent to a daemon as it stands there, in the order of the file:
# what creates first, what deletes last. Each must succeed, and main() compares its reply with the
# contract. A path's parameter is its example, or what the last call of the collection created; a
# parameter of a query without an example is not sent.
import os
import sys
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from openapi import inlined, operations
from snapgroupd import Daemon, expect, main, run

ORDER = ("POST", "PUT", "GET", "PATCH", "DELETE")


def examples_of(node):
    """The values of `example` and `examples` of a parameter or of a body."""
    values = [example["value"] for example in node.get("examples", {}).values()]
    return values + ([node["example"]] if "example" in node else [])


def paths_of(path, item, created):
    """The path, with each example of its parameters."""
    paths = [path]
    for parameter in item.get("parameters", ()):
        slot = "{%s}" % parameter["name"]
        values = examples_of(parameter) or created.get(path.split("/{")[0], [])[-1:]
        expect(values, "%s: nothing to put for %s", path, slot)
        paths = [known.replace(slot, urllib.parse.quote(str(value), "")) for known in paths for value in values]
    return paths


def queries_of(operation):
    """Every example of every parameter of the query, one at a time; and none."""
    return ["?%s=%s" % (parameter["name"], urllib.parse.quote(str(value).lower() if value is True else str(value)))
            for parameter in operation.get("parameters", ()) if parameter["in"] == "query"
            for value in examples_of(parameter)] + [""]


def bodies_of(operation):
    body = operation.get("requestBody")
    if not body:
        return [None]
    (content,) = body["content"].values()
    values = examples_of(content)
    expect(values, "%s has no example", operation["operationId"])
    return values


def prepare(daemon, operation, body):
    """What an example expects to find."""
    if operation["operationId"] == "device_create" and "size_bytes" not in body and "from" not in body:
        run("truncate", "-s", "1M", daemon.image(body["image"]))
    if operation["operationId"] == "copy_create":
        os.makedirs(os.path.dirname(daemon.image(body["image"])), exist_ok=True)
    if operation["operationId"] == "device_create" and "from" in body:
        groups = [group["name"] for group in daemon.list("/snapshot-groups")]
        if body["from"]["group"] not in groups:
            daemon.snapshot(body["from"]["group"], [body["from"]["device"]])


def rank(entry):
    """What is within something is deleted before it."""
    method, path = entry[0]
    return ORDER.index(method), -path.count("/") if method == "DELETE" else 0


def send_all(daemon):
    created, sent = {}, 0
    known = sorted(operations().items(), key=rank)
    for (method, path), (item, operation) in known:
        operation = inlined(operation)
        for body in bodies_of(operation):
            for target in paths_of(path, inlined(item), created):
                for query in queries_of(operation):
                    if body:
                        prepare(daemon, operation, body)
                    answer = daemon.request(method, target + query, body)
                    expect(200 <= answer.status < 300, "%s %s %s: %s", method, target + query, body, answer)
                    sent += 1
                if answer.headers.get("Location"):
                    created.setdefault(path, []).append(answer.headers["Location"].split("/")[-1])
    expect(sent >= len(known), "%d calls for %d operations", sent, len(known))


def add_paused_job(daemon):
    """One that examples can change: others end at once."""
    (item, _) = operations()["GET", "/jobs/{id}"]
    with daemon.stopped_database() as database:
        database.execute("INSERT INTO jobs (id, kind, state, spec, rate_bytes_per_second, created_at_us) "
                         "VALUES (?, 'delete', 'paused', '{}', 0, 1)", (item["parameters"][0]["example"],))


def test():
    with Daemon() as daemon:
        daemon.add_psk("backup-host") # without TLS nobody can be named in allowed_clients
        daemon.start()
        add_paused_job(daemon)
        send_all(daemon)


main(test)
