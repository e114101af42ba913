#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# api/openapi.yaml breaks nothing that api/released.yaml, the file of the last release, promised,
# unless its version says so. Until there is a release there is no such file; from then on there
# must be one. Each kind of breach is planted in a copy and found; additions are none.
import copy
import os
import re
import sys

import yaml

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from breaking import breaking_changes, version_allows
from openapi import SPEC, inlined
from snapgroupd import SOURCE_DIR, expect, main

RELEASED = os.path.join(SOURCE_DIR, "api/released.yaml")
GROUPS = ("paths", "/snapshot-groups")
POST = GROUPS + ("post",)
BODY = POST + ("requestBody", "content", "application/json", "schema")
CREATED = POST + ("responses", "201")
GROUP = CREATED + ("content", "application/json", "schema")
LIST = GROUPS + ("get",)
DEVICE = ("paths", "/devices", "post", "requestBody", "content", "application/json", "schema")


def at(spec, path):
    for key in path:
        spec = spec[key]
    return spec


def put(*path_and_value):
    *path, value = path_and_value

    def change(spec):
        at(spec, path[:-1])[path[-1]] = value
    return change


def drop(*path):
    def change(spec):
        del at(spec, path[:-1])[path[-1]]
    return change


def append(*path_and_value):
    *path, value = path_and_value
    return lambda spec: at(spec, path).append(value)


def remove(*path_and_value):
    *path, value = path_and_value
    return lambda spec: at(spec, path).remove(value)


BREACHES = {
    "path": drop("paths", "/snapshot-groups/{id}"),
    "operation": drop("paths", "/devices/{name}", "delete"),
    "operationId": put(*POST, "operationId", "group_create"),
    "status": drop(*POST, "responses", "409"),
    "success": lambda spec: at(spec, POST + ("responses",)).update({"200": at(spec, CREATED)}) or drop(*CREATED)(spec),
    "content type": drop(*CREATED, "content", "application/json"),
    "header": drop(*CREATED, "headers", "Location"),
    "optional header": put(*CREATED, "headers", "Location", "required", False),
    "field of a reply": drop(*GROUP, "properties", "cut_at"),
    "optional field of a reply": remove(*GROUP, "required", "cut_at"),
    "null in a reply": put(*GROUP, "properties", "id", "type", ["string", "null"]),
    "type of a reply": put(*GROUP, "properties", "name", "type", "integer"),
    "format of a reply": drop(*GROUP, "properties", "id", "format"),
    "values of a reply": put(*GROUP, "properties", "state", "enum", ["new"]),
    "deep in a reply": drop(*GROUP, "properties", "members", "items", "properties", "backing_file"),
    "field of a request": drop(*BODY, "properties", "labels"),
    "required field": append(*DEVICE, "required", "size_bytes"),
    "new required field": lambda spec: put(*DEVICE, "properties", "owner", {"type": "string"})(spec) or append(
        *DEVICE, "required", "owner")(spec),
    "value of a request": put(*DEVICE, "properties", "format", "enum", ["raw"]),
    "new enum": put(*DEVICE, "properties", "image", "enum", ["a"]),
    "type of a request": put(*DEVICE, "properties", "size_bytes", "type", "string"),
    "lower maximum": put(*DEVICE, "properties", "size_bytes", "maximum", 10),
    "new minimum": put(*DEVICE, "properties", "image", "minLength", 5),
    "shorter text": put(*DEVICE, "properties", "name", "maxLength", 8),
    "pattern": put(*DEVICE, "properties", "name", "pattern", "^[a-z]$"),
    "default": put(*DEVICE, "properties", "read_only", "default", True),
    "fewer items": put(*BODY, "properties", "devices", "maxItems", 2),
    "deep in a request": drop(*BODY, "properties", "devices", "items", "properties", "snapshot_file"),
    "required body": put("paths", "/devices/{name}", "delete", "requestBody", "required", True),
    "parameter": lambda spec: put(*LIST, "parameters", at(spec, LIST + ("parameters",))[1:])(spec),
    "required parameter": put(*LIST, "parameters", 0, "required", True),
    "new required parameter": append(*LIST, "parameters", {"name": "x", "in": "header", "required": True,
                                                           "schema": {"type": "string"}}),
    "smaller page": put(*LIST, "parameters", 0, "schema", "maximum", 10),
    "credentials": put(*POST, "security", [{"new": []}]),
}

ADDITIONS = {
    "path": put("paths", "/new", {"get": {"operationId": "new", "responses": {}}}),
    "operation": put("paths", "/devices", "put", {"operationId": "new", "responses": {}}),
    "status": put(*POST, "responses", "418", {"description": "new"}),
    "header": put(*CREATED, "headers", "New", {"schema": {}}),
    "optional field": put(*BODY, "properties", "new", {"type": "string"}),
    "field of a reply": put(*GROUP, "properties", "new", {"type": "string"}),
    "required field of a reply": append(*GROUP, "required", "new"),
    "value of a reply": append(*GROUP, "properties", "state", "enum", "new"),
    "value of a request": put(*DEVICE, "properties", "format", "enum", ["raw", "qcow2", "new"]),
    "optional parameter": append(*LIST, "parameters", {"name": "x", "in": "query", "schema": {"type": "string"}}),
    "larger maximum": put(*DEVICE, "properties", "name", "maxLength", 100),
    "description": put(*POST, "description", "new"),
    "less to give": remove(*DEVICE, "required", "name"),
}


def at_version(spec, version):
    return {**spec, "info": {"version": version}}


def planted(spec):
    expect(not list(breaking_changes(spec, spec)), "breaks itself: %s", list(breaking_changes(spec, spec)))
    for changes, breaks in ((BREACHES, True), (ADDITIONS, False)):
        for what, change in changes.items():
            new = copy.deepcopy(spec)
            change(new)
            expect(new != spec, "%s: nothing was changed", what)
            found = list(breaking_changes(spec, new))
            expect(bool(found) == breaks, "%s: %s", what, found)
    for old, new, allows in (("0.1.0", "0.1.1", False), ("0.1.0", "0.2.0", True), ("0.9.0", "1.0.0", True),
                             ("1.1.0", "1.2.0", False), ("1.1.0", "2.0.0", True), ("0.2.0", "0.1.0", False)):
        expect(version_allows(at_version(spec, old), at_version(spec, new)) == allows, "%s to %s", old, new)


def released(spec):
    with open(os.path.join(SOURCE_DIR, "CHANGELOG.md"), encoding="utf-8") as file:
        releases = re.findall(r"^## v?(\d+\.\d+\.\d+)", file.read(), re.M)
    expect(os.path.exists(RELEASED) == bool(releases), "CHANGELOG.md has the releases %s: api/released.yaml must be "
           "api/openapi.yaml of the last one", releases)
    if not releases:
        return
    with open(RELEASED, encoding="utf-8") as file:
        old = inlined(yaml.safe_load(file))
    expect(old["info"]["version"] == releases[0], "api/released.yaml is not of release %s", releases[0])
    found = list(breaking_changes(old, spec))
    expect(not found or version_allows(old, spec), "clients of %s break:\n%s", old["info"]["version"], "\n".join(found))


def test():
    spec = inlined(SPEC)
    planted(spec)
    released(spec)


main(test)
