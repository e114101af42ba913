#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# OPTIONS of every path names its methods and the types of their bodies; a reply of a type that the
# client does not take is refused before anything is done, and the most specific range decides; a
# wrong body is told the right type; only openapi.yaml may be kept by caches.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from openapi import SPEC
from snapgroupd import Answer, Daemon, expect, main

TAKES_JSON = ["*/*", "application/*", "APPLICATION/JSON", "text/html, application/json;q=0.1", "text/*, */*;q=0.01",
              "application/json;charset=utf-8", " , application/json", "application/*;q=0, application/json",
              "application/json; q=1.000, */*;q=0"]
REFUSES_JSON = ["text/html", "text/*", "application/jsonx", "application/json;q=0", "application/*;q=0.0, */*",
                "application/json;q=0.000, application/*", "*", "json", "application/problem+json"]


def ask(connection, method, path, headers=None, body=None):
    connection.request(method, path, body, headers or {})
    return Answer(connection.getresponse())


def options(connection):
    for path, item in SPEC["paths"].items():
        methods = {method.upper() for method in item if method in ("get", "put", "post", "patch", "delete")}
        methods |= {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        answer = ask(connection, "OPTIONS", path.replace("{", "").replace("}", ""))
        expect(answer.status == 204, "OPTIONS %s: %s", path, answer)
        expect(set(answer.headers["Allow"].split(", ")) == methods, "OPTIONS %s: %s", path, answer.headers)
        for method, name in (("post", "Accept-Post"), ("patch", "Accept-Patch")):
            types = list(item[method]["requestBody"]["content"]) if "requestBody" in item.get(method, {}) else None
            expect(answer.headers.get_all(name) == types, "OPTIONS %s: %s", path, answer.headers)


def accept(connection):
    for value in TAKES_JSON:
        answer = ask(connection, "GET", "/devices", {"Accept": value})
        expect(answer.status == 200, "Accept: %s: %s", value, answer)
    for value in REFUSES_JSON:
        answer = ask(connection, "GET", "/devices", {"Accept": value})
        expect(answer.status == 406 and answer.body["code"] == "NotAcceptable", "Accept: %s: %s", value, answer)
    for path, value in (("/metrics", "text/plain;version=0.0.4;q=0.5, */*;q=0.1"), ("/openapi.yaml", "application/yaml"),
                        ("/metrics", "text/*")):
        answer = ask(connection, "GET", path, {"Accept": value})
        expect(answer.status == 200, "%s, Accept: %s: %s", path, value, answer)
        answer = ask(connection, "GET", path, {"Accept": "application/json"})
        expect(answer.status == 406, "%s as JSON: %s", path, answer)
    disk = '{"name":"vda","image":"vda","format":"raw","size_bytes":512}'
    answer = ask(connection, "POST", "/devices", {"Accept": "text/html", "Content-Type": "application/json"}, disk)
    expect(answer.status == 406, "POST: %s", answer)
    expect(ask(connection, "GET", "/devices").body["items"] == [], "a device was created")


def bodies(connection):
    for path in ("/devices", "/snapshot-groups"):
        answer = ask(connection, "POST", path, {"Content-Type": "text/plain"}, "{}")
        expect(answer.status == 415 and answer.headers["Accept-Post"] == "application/json", "%s: %s", path, answer.headers)


def caches(connection):
    for path in ("/devices", "/devices/none", "/livez", "/metrics", "/nowhere"):
        expect(ask(connection, "GET", path).headers["Cache-Control"] == "no-store", "%s may be kept", path)
    expect(ask(connection, "GET", "/openapi.yaml").headers["Cache-Control"] == "no-cache", "openapi.yaml")
    # HEAD has the length of GET.
    for path in ("/devices", "/devices/none", "/snapshot-groups", "/livez", "/openapi.yaml", "/nowhere"):
        get, head = ask(connection, "GET", path), ask(connection, "HEAD", path)
        expect((head.status, head.headers["Content-Length"]) == (get.status, get.headers["Content-Length"]),
               "HEAD %s: %s", path, head.headers)
        expect(head.body == "", "HEAD %s has a body", path)


def test():
    with Daemon() as daemon:
        daemon.start()
        connection = daemon.connection()
        options(connection)
        accept(connection)
        bodies(connection)
        caches(connection)
        connection.close()


main(test)
