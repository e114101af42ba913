# SPDX-License-Identifier: Apache-2.0
"""api/openapi.yaml: its operations, and checks of replies against it (JSON Schema, Draft 2020-12).

Every reply that a test got through snapgroupd.py or functions.sh is checked when the test ends:
exchanges_check(). As a program it checks those in a file that functions.sh wrote: method, path,
status, header and body of each, with a zero after each of the five.
"""
import collections
import datetime
import functools
import json
import os
import re
import sys
import urllib.parse

import jsonschema
import yaml

from snapgroupd import SOURCE_DIR, Failure, expect

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
ALIKE_MAX = 100
FORMATS = jsonschema.FormatChecker(formats=["uuid"])

with open(os.path.join(SOURCE_DIR, "api/openapi.yaml"), encoding="utf-8") as file:
    SPEC = yaml.load(file, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def resolve(node):
    """Follows references; keys beside one override those of its target."""
    while isinstance(node, dict) and node.get("$ref", "").startswith("#/"):
        target = SPEC
        for part in node["$ref"][2:].split("/"):
            expect(part in target, "%s does not resolve", node["$ref"])
            target = target[part]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def walk(node, path=""):
    """Every node below `node`, with its path."""
    yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from walk(value, "%s/%s" % (path, key))


def operations():
    """(method, path) -> (path item, operation)"""
    return {(method.upper(), path): (item, item[method])
            for path, item in SPEC["paths"].items() for method in item if method in METHODS}


# Formats that Debian's python3-jsonschema does not check by itself.
@FORMATS.checks("date-time", ValueError)
def is_time(value):
    return not isinstance(value, str) or datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ")


@FORMATS.checks("uri-reference", ValueError)
def is_uri_reference(value):
    return not isinstance(value, str) or (urllib.parse.urlsplit(value) and
                                          re.fullmatch(r"([\w.~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*", value, re.A))


@FORMATS.checks("json-pointer")
def is_json_pointer(value):
    return not isinstance(value, str) or re.fullmatch(r"(/([^~/]|~[01])*)*", value)


def inlined(node):
    """The node without references. (No schema contains itself.)"""
    node = resolve(node)
    if isinstance(node, dict):
        return {key: inlined(value) for key, value in node.items()}
    return [inlined(value) for value in node] if isinstance(node, list) else node


def validator(schema):
    return jsonschema.Draft202012Validator(inlined(schema), format_checker=FORMATS)


def fits(value, schema, where, checker=None):
    """Fails unless the value fits the schema."""
    error = jsonschema.exceptions.best_match((checker or validator(schema)).iter_errors(value))
    expect(error is None, "%s: %s: %s", where, error and error.json_path, error and error.message)


def plain_path(target):
    """The path of a request's target: without the host, if it has one, and the query."""
    return re.sub("^http://[^/]*", "", target).split("?")[0]


@functools.lru_cache(None)
def operation_of(method, path):
    """The operation of a request's path, or None."""
    parts = plain_path(path).split("/")
    for (known, template), (_, operation) in operations().items():
        names = template.split("/")
        if known == ("GET" if method == "HEAD" else method) and len(names) == len(parts) and \
                all(name == part or (part and name.startswith("{")) for name, part in zip(names, parts)):
            return operation
    return None


# ---- replies ----

# What HTTP itself has (RFC 9110), and what a status must have.
PLAIN_HEADERS = {"date", "content-type", "content-length", "transfer-encoding", "connection", "cache-control"}
HEADERS_OF_STATUS = {"401": {"www-authenticate"}, "405": {"allow"}, "429": {"retry-after"}, "503": {"retry-after"}}
PROBLEM = "application/problem+json"


@functools.lru_cache(None)
def response_of(operation_id, status):
    """Whether the operation lists the status; the validators of its bodies; its headers; the codes
    that it and `default` name. An unknown operation has what any path may return."""
    known = {operation["operationId"]: operation for _, operation in operations().values()}
    any_call = resolve(SPEC["components"]["responses"]["AnyCall"])
    responses = known.get(operation_id, {"responses": {}})["responses"]
    response = inlined(responses.get(status, any_call))
    codes = set(re.findall(r"`([A-Z]\w+)`", response["description"] + any_call["description"]))
    if operation_id not in known:
        codes |= {"NotFound", "MethodNotAllowed", "InvalidParameter"}
    bodies = {content_type: validator(body["schema"]) for content_type, body in response.get("content", {}).items()}
    headers = {name.lower(): header for name, header in response.get("headers", {}).items()}
    return status in responses, bodies, headers, codes


def headers_check(where, given, documented, status):
    given = {name.lower(): value for name, value in given}
    must = {name for name, header in documented.items() if header.get("required")} | HEADERS_OF_STATUS.get(status, set())
    expect(must <= set(given), "%s: no %s", where, must - set(given))
    other = set(given) - set(documented) - must - PLAIN_HEADERS
    expect(not other, "%s: headers that are not documented: %s", where, other)
    for name, header in documented.items():
        if name in given:
            value = given[name]
            is_number = header["schema"].get("type") == "integer"
            fits(int(value) if is_number and value.isdigit() else value, header["schema"], where + ": " + name)
    return given


def problem_check(where, path, status, headers, body, codes):
    expect(body["status"] == int(status), "%s: the body says %s", where, body)
    expect(body["code"] in codes, "%s: %s is not documented", where, body["code"])
    expect(re.search("; [a-zA-Z/{]", body["detail"]), "%s: what can be done? %s", where, body["detail"])
    expect("idempotency-replayed" in headers or body.get("request_id") == headers["x-request-id"], "%s: request_id: %s", where, body)
    instance = body["instance"]
    is_cut = len(instance) >= 500 and plain_path(path).startswith(instance)
    expect(instance == "/" or instance.startswith("/snapshot-groups/") or is_cut or
           urllib.parse.unquote(instance) in (plain_path(path), urllib.parse.unquote(plain_path(path))),
           "%s: instance: %s", where, body)


def reply_check(method, path, status, headers, text):
    """The contract has this reply: status, headers, content type, body, and all of a problem."""
    where, status = "%s %s: %s" % (method, path, status), str(status)
    operation = operation_of(method, path)
    is_listed, bodies, documented, codes = response_of(operation and operation["operationId"], status)
    if not operation and method == "OPTIONS" and status == "204":  # see the file's description
        bodies, documented = {}, {"x-request-id": documented["x-request-id"], "allow": {"schema": {}},
                                  "accept-post": {"schema": {}}, "accept-patch": {"schema": {}}}
    else:
        expect(is_listed or status >= "400", "%s is not documented", where)
    headers = headers_check(where, headers, documented, status)
    is_kept = re.match("/openapi.yaml$|/ui/", plain_path(path)) and method in ("GET", "HEAD") and status < "400"
    expect(headers["cache-control"] == ("no-cache" if is_kept else "no-store"), "%s: %s", where, headers)
    content_type = headers.get("content-type")
    if not bodies:
        expect(not text and not content_type, "%s: a body that is not documented", where)
        return
    expect(content_type in bodies, "%s: %s is not documented", where, content_type)
    if method == "HEAD":
        expect(not text, "%s: a body", where)
        return
    body = json.loads(text) if "json" in content_type else text
    fits(body, None, where, bodies[content_type])
    if content_type == PROBLEM:
        problem_check(where, path, status, headers, body, codes)


def exchanges_check(exchanges):
    """reply_check() of each; of those that differ in digits and ids only, as in a run of half an
    hour, of the first ALIKE_MAX."""
    alike = collections.Counter()
    for exchange in dict.fromkeys(exchanges):
        shape = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]+", "0", repr(exchange))
        alike[shape] += 1
        if alike[shape] <= ALIKE_MAX:
            reply_check(*exchange)


def exchanges_read(path):
    with open(path, encoding="utf-8") as written:
        fields = written.read().split("\0")
    expect(len(fields) % 5 == 1, "%s: %d fields", path, len(fields))
    for i in range(0, len(fields) - 1, 5):
        method, target, status, header, text = fields[i:i + 5]
        # The last head: others are those of 100 Continue.
        lines = header.strip().split("\n\n")[-1].split("\n")[1:]
        yield method, target, status, tuple(tuple(re.split(": *", line, 1)) for line in lines), text


if __name__ == "__main__":
    try:
        exchanges_check(exchanges_read(sys.argv[1]))
    except Failure as failure:
        sys.exit("FAILED: the contract: %s" % failure)
