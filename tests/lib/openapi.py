# SPDX-License-Identifier: Apache-2.0
"""api/openapi.yaml, and the part of JSON Schema that it uses: what holds the contract to the code and to answers."""
import os
import re

import yaml

from snapgroupd import SOURCE_DIR, expect

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
KINDS = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}

with open(os.path.join(SOURCE_DIR, "api/openapi.yaml"), encoding="utf-8") as file:
    SPEC = yaml.safe_load(file)


def resolve(node):
    """Follows references; what stands beside one overrides what it refers to."""
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


def is_kind(value, name):
    return isinstance(value, KINDS[name]) and not (name == "integer" and isinstance(value, bool))


def fits(value, schema, path):
    """Fails unless the value fits the schema."""
    schema = resolve(schema)
    if "oneOf" in schema:
        choices = [resolve(choice) for choice in schema["oneOf"]]
        schema = next((choice for choice in choices if is_kind(value, choice["type"])), None)
        expect(schema, "%s: %r fits no choice", path, value)
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    expect(any(is_kind(value, name) for name in types), "%s: %r is none of %s", path, value, types)
    expect(value in schema.get("enum", [value]), "%s: %r is not in the enum", path, value)
    expect(value == schema.get("const", value), "%s: %r is not the constant", path, value)
    if isinstance(value, str):
        expect(re.search(schema.get("pattern", ""), value), "%s: %r does not match", path, value)
        expect(len(value) <= schema.get("maxLength", len(value)), "%s: %r is too long", path, value)
    if isinstance(value, list):
        for i, item in enumerate(value):
            fits(item, schema["items"], "%s/%d" % (path, i))
    if isinstance(value, dict):
        missing = set(schema.get("required", ())) - set(value)
        expect(not missing, "%s: %s are missing", path, missing)
        for key, item in value.items():
            below = schema.get("properties", {}).get(key, schema["additionalProperties"])
            expect(below, "%s: property %s is not described", path, key)
            fits(item, below, "%s/%s" % (path, key))


def operation_of(method, path):
    """The operation and the responses that it documents, for a path as it was asked for; None if there is none."""
    parts = path.split("?")[0].split("/")
    for (known, template), (_, operation) in operations().items():
        names = template.split("/")
        if known == ("GET" if method == "HEAD" else method) and len(names) == len(parts) and \
                all(name == part or name.startswith("{") for name, part in zip(names, parts)):
            return operation
    return None


# What any call may answer, by the description at the top of the file.
ANY_CALL = {"403", "404", "405", "413", "500", "507"}


def check_answer(method, path, answer):
    """The answer is one that the operation documents."""
    where = "%s %s: %d" % (method, path, answer.status)
    operation = operation_of(method, path)
    status = str(answer.status)
    content_type = answer.headers.get("Content-Type")
    if not operation or (status not in operation["responses"] and status in ANY_CALL):
        expect(status in ANY_CALL, "%s is not documented", where)
        fits(answer.body, SPEC["components"]["schemas"]["Problem"], where)
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
        expect(answer.body["status"] == answer.status, "%s: the body says %s", where, answer.body)
        expect("`%s`" % answer.body["code"] in response["description"], "%s: %s is not documented", where,
               answer.body["code"])
