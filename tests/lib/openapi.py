# SPDX-License-Identifier: Apache-2.0
"""api/openapi.yaml: its operations, and checks of replies against its schemas (JSON Schema, Draft
2020-12)."""
import datetime
import os
import re
import urllib.parse

import jsonschema
import yaml

from snapgroupd import SOURCE_DIR, expect

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
FORMATS = jsonschema.FormatChecker(formats=["uuid"])

with open(os.path.join(SOURCE_DIR, "api/openapi.yaml"), encoding="utf-8") as file:
    SPEC = yaml.safe_load(file)


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


def fits(value, schema, where):
    """Fails unless the value fits the schema."""
    whole = {**schema, "components": SPEC["components"]}  # for its references
    validator = jsonschema.Draft202012Validator(whole, format_checker=FORMATS)
    error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    expect(error is None, "%s: %s: %s", where, error and error.json_path, error and error.message)


def operation_of(method, path):
    """The operation of a request's path, or None."""
    parts = path.split("?")[0].split("/")
    for (known, template), (_, operation) in operations().items():
        names = template.split("/")
        if known == ("GET" if method == "HEAD" else method) and len(names) == len(parts) and \
                all(name == part or name.startswith("{") for name, part in zip(names, parts)):
            return operation
    return None


# Statuses that any call may return, by the description at the top of the file.
ANY_CALL = {"403", "404", "405", "413", "500", "507"}


def check_problem(method, path, answer):
    """The answer is a problem about this request."""
    where = "%s %s: %d" % (method, path, answer.status)
    fits(answer.body, SPEC["components"]["schemas"]["Problem"], where)
    expect(answer.body["status"] == answer.status, "%s: the body says %s", where, answer.body)
    expect(answer.body.get("request_id") == answer.headers["X-Request-Id"], "%s: request_id: %s", where, answer.body)
    instance = answer.body["instance"]
    expect(instance == path.split("?")[0] or instance.startswith("/snapshot-groups/"), "%s: instance: %s", where,
           answer.body)


def check_answer(method, path, answer):
    """The operation documents the answer."""
    where = "%s %s: %d" % (method, path, answer.status)
    operation = operation_of(method, path)
    status = str(answer.status)
    content_type = answer.headers.get("Content-Type")
    expect(answer.headers.get("X-Request-Id"), "%s: no X-Request-Id", where)
    if not operation or (status not in operation["responses"] and status in ANY_CALL):
        expect(status in ANY_CALL, "%s is not documented", where)
        check_problem(method, path, answer)
        return
    expect(status in operation["responses"], "%s is not documented", where)
    response = resolve(operation["responses"][status])
    for name, header in response.get("headers", {}).items():
        expect(answer.headers.get(name) or not resolve(header)["required"], "%s: no %s", where, name)
    if "content" not in response:
        expect(not answer.body, "%s: a body that is not documented", where)
        return
    expect(content_type in response["content"], "%s: %s is not documented", where, content_type)
    fits(answer.body, response["content"][content_type]["schema"], where)
    if content_type == "application/problem+json":
        check_problem(method, path, answer)
        expect("`%s`" % answer.body["code"] in response["description"], "%s: %s is not documented", where,
               answer.body["code"])
