#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# api/openapi.yaml and the code agree: operations and service/http/routes.h, error codes and
# base/err.h, statuses, headers, limits and request fields. Every reference resolves, every object
# is closed, every example matches its schema, every format is checked.
import os
import re
import sys

import jsonschema

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from openapi import FORMATS, SPEC, fits, operations, resolve, walk
from snapgroupd import SOURCE_DIR, expect, main

SCHEMAS = SPEC["components"]["schemas"]

# Those of a content's form and of a caller's identity: media types and security schemes.
SCHEME_HEADERS = {"Content-Type", "Content-Encoding", "Accept", "Authorization", "Host"}


def source(path):
    with open(os.path.join(SOURCE_DIR, path), encoding="utf-8") as file:
        return file.read()


def same(what, in_yaml, in_code):
    expect(in_yaml == in_code, "%s: only in openapi.yaml %s, only in the code %s", what,
           in_yaml - in_code, in_code - in_yaml)


def structure():
    expect(SPEC["openapi"].startswith("3.1"), "not OpenAPI 3.1")
    for where, node in walk(SPEC):
        if not isinstance(node, dict):
            continue
        resolve(node)
        expect(not isinstance(node.get("format"), str) or not isinstance(node.get("type"), (str, list)) or
               node["format"] in FORMATS.checkers, "%s: format %s is not checked", where, node.get("format"))
        if node.get("type") == "object":
            expect("additionalProperties" in node, "%s: the object is open", where)
            expect(set(node.get("required", ())) <= set(node.get("properties", ())), "%s: required", where)
        if "schema" in node and "example" in node:
            fits(node["example"], node["schema"], where + "/example")
        if "schema" in node and isinstance(node.get("examples"), dict):
            for name, example in node["examples"].items():
                fits(example["value"], node["schema"], "%s/examples/%s" % (where, name))
    jsonschema.Draft202012Validator.check_schema({"$defs": SCHEMAS})
    for path, item in SPEC["paths"].items():
        declared = {resolve(parameter)["name"] for parameter in item.get("parameters", ())}
        same(path + ": path parameters", declared, set(re.findall(r"\{(\w+)\}", path)))


def routes():
    code = re.sub(r"\s*\\\n\s*", " ", source("service/http/routes.h"))
    rows = re.findall(r' X\("([A-Z]+)", "(/[^"]*)", (\w+), SCOPE_\w+, [\w |]+, (\w+), (?:NULL|&(\w+))\)', code)
    expect(len(rows) == code.count(" X("), "a route in routes.h is not understood")
    same("operations", {(method, path, operation["operationId"])
                        for (method, path), (_, operation) in operations().items()},
         {row[:3] for row in rows})
    scopes = dict(re.findall(r' X\("[A-Z]+", "[^"]*", (\w+), SCOPE_(\w+)', code))
    for _, operation in operations().values():
        scope = scopes[operation["operationId"]].lower()
        expect(operation.get("security") == ([] if scope == "none" else [{"bearerAuth": [scope]}]),
               "%s: its scope is %s", operation["operationId"], scope)
    keyed = set(re.findall(r' X\("[A-Z]+", "[^"]*", (\w+), SCOPE_\w+, [\w |]*ROUTE_IDEMPOTENT', code))
    same("operations that take a key", {operation["operationId"] for _, operation in operations().values() if any(
        resolve(parameter)["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))}, keyed)
    tables = dict(re.findall(r"(\w+_parameters)\[\] = \{(.*?)NULL\}", source("service/http/routes.c"), re.S))
    for method, path, _, table, body in rows:
        operation = operations()[method, path][1]
        same("%s %s: query parameters" % (method, path),
             {resolve(parameter)["name"] for parameter in operation.get("parameters", ())
              if resolve(parameter)["in"] == "query"},
             set(re.findall(r'"(\w+)"', tables.get(table, ""))))
        expect(bool(body) == ("requestBody" in operation), "%s %s: a body on one side only", method, path)


def code_of(folder):
    """All code of a folder, without comments."""
    text = "".join(source(os.path.join(folder, file)) for file in sorted(os.listdir(os.path.join(SOURCE_DIR, folder)))
                   if file.endswith((".c", ".h")))
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def headers():
    """Those that a handler reads are parameters, or in the file's description; those that a reply
    gets are headers of a response."""
    code = code_of("service/http")
    declared = {resolve(parameter)["name"] for item, operation in operations().values()
                for parameter in item.get("parameters", []) + operation.get("parameters", [])
                if resolve(parameter)["in"] == "header"}
    read = set(re.findall(r'\brequest_header\(\s*[\w>-]+,\s*"([\w-]+)"', code))
    expect(declared <= read, "header parameters that nobody reads: %s", declared - read)
    described = declared | {name for name in read if "`%s" % name in SPEC["info"]["description"]}
    expect(read <= described | SCHEME_HEADERS, "headers that are not described: %s", read - described)
    sent = set(re.findall(r'\breply_header_add\(\s*[\w&>.-]+,\s*"([\w-]+)"', code))
    listed = {name for _, operation in operations().values() for response in operation["responses"].values()
              for name in resolve(response).get("headers", {})}
    same("headers of replies", listed, sent - {"Content-Type", "Allow", "Cache-Control"})


def errors():
    status_of = dict(re.findall(r"\bX\((\w+), (\d+), (?:true|false)\)", source("base/err.h")))
    same("error codes", set(SCHEMAS["ErrorCode"]["enum"]), set(status_of))
    same("codes with advice", set(status_of), set(re.findall(r"\[Err(\w+)\] =\s+\"\w", source("service/http/advice.c"))) |
         set(re.findall(r"\[Err(\w+)\] =\s+\"/", source("service/http/advice.c"))))
    for key, (_, operation) in operations().items():
        for status, response in operation["responses"].items():
            response = resolve(response)
            if status < "400":
                continue
            expect("application/problem+json" in response["content"], "%s %s: no problem", key, status)
            codes = set(re.findall(r"`([A-Z]\w+)`", response["description"])) & set(status_of)
            expect(codes, "%s %s: no code is named", key, status)
            for code in codes if status not in ("507", "default") else ():
                expect(status_of[code] == status, "%s %s names %s, which is %s", key, status, code, status_of[code])
            example = response["content"]["application/problem+json"].get("example")
            expect(not example or status_of[example["code"]] == str(example["status"]) and
                   status in ("default", str(example["status"])),
                   "%s %s: the example", key, status)
            expect(not example or "; " in example["detail"], "%s %s: the example says not what to do", key, status)


def request_fields():
    kinds = {"string": "TEXT", "integer": "NUMBER", "boolean": "BOOL", "object": "OBJECT", "array": "ARRAY"}

    def kind_of(types):
        return kinds[types[0]] + "_OR_NULL" if isinstance(types, list) else kinds[types]

    for file, table, name in (("devices-http.c", "device_fields", "DeviceRequest"),
                              ("devices-http.c", "from_fields", "CloneSource"),
                              ("devices-http.c", "detach_fields", "DetachRequest"),
                              ("group-body.c", "group_fields", "SnapshotGroupRequest"),
                              ("group-body.c", "member_fields", "MemberRequest"),
                              ("group-body.c", "selector_fields", "Selector"),
                              ("merge-patch.c", "labels_patch_fields", "LabelsPatch"),
                              ("tokens-http.c", "token_fields", "TokenRequest")):
        body = re.search(r"%s\[\] = \{(.*?)\n\};" % table, source("service/http/" + file), re.S)[1]
        same(name, {(field, kind_of(resolve(schema)["type"]), str(field in SCHEMAS[name].get("required", ())).lower())
                    for field, schema in SCHEMAS[name]["properties"].items()},
             set(re.findall(r'\{"(\w+)", DECODE_(\w+), (true|false)', body)))


def limits():
    code = "".join(map(source, ("block/limits.h", "service/limits.h", "service/http/limits.h", "service/http/request.h",
                              "service/group-runs.h")))
    number_of = {name: int(number) if number else 1 << int(shift) for name, number, shift in re.findall(
        r"#define (\w+_(?:MAX|DEFAULT|MAX_BYTES|MAX_MS|DEFAULT_MS))[\s\\]+(?:(\d+)\b|\(1ULL << (\d+)\))", code)}
    page = SPEC["components"]["parameters"]["limit"]["schema"]
    for name, value in {
            "DEVICE_NAME_MAX": SCHEMAS["DeviceName"]["maxLength"],
            "GROUP_NAME_MAX": SCHEMAS["GroupName"]["maxLength"],
            "GROUP_MEMBERS_MAX": SCHEMAS["SnapshotGroupRequest"]["properties"]["devices"]["maxItems"],
            "GROUP_DEADLINE_MAX_MS": SCHEMAS["SnapshotGroupRequest"]["properties"]["deadline_ms"]["maximum"],
            "GROUP_DEADLINE_DEFAULT_MS": SCHEMAS["SnapshotGroupRequest"]["properties"]["deadline_ms"]["default"],
            "DEVICE_SIZE_MAX_BYTES": SCHEMAS["DeviceRequest"]["properties"]["size_bytes"]["maximum"],
            "CLUSTER_BYTES_MAX": SCHEMAS["DeviceRequest"]["properties"]["cluster_size_bytes"]["maximum"],
            "TOKEN_NAME_MAX": SCHEMAS["TokenName"]["maxLength"],
            "LABELS_MAX": SCHEMAS["Labels"]["maxProperties"],
            "LABEL_BYTES_MAX": SCHEMAS["Labels"]["additionalProperties"]["maxLength"],
            "REQUEST_LIMIT_MAX": page["maximum"],
            "REQUEST_LIMIT_DEFAULT": page["default"]}.items():
        expect(number_of.get(name) == value, "%s is %s, but %s in openapi.yaml", name, number_of.get(name), value)
    same("version", {SPEC["info"]["version"]},
         set(re.findall(r"VERSION ([\d.]+) LANGUAGES", source("CMakeLists.txt"))))


def test():
    structure()
    routes()
    headers()
    errors()
    request_fields()
    limits()


main(test)
