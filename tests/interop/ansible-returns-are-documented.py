#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# label: static
#
# RETURN of each module has every field of the schemas of api/openapi.yaml that it returns, and no
# other. The defaults of the role are those of its specification.
import os
import sys

import yaml

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
import openapi
from collection import MODULES, SOURCE, Collection
from snapgroupd import expect, main

SCHEMAS = {"device": "Device", "devices": "Device", "snapshot_group": "SnapshotGroup", "snapshot_groups": "SnapshotGroup",
           "plan": "SnapshotGroupPlan", "delete_plan": "DeletePlan", "job": "Job", "jobs": "Job", "token_info": "Token",
           "extents": "Extent"}
OF_THE_MODULE = {"secret", "size_bytes", "granularity_bytes", "data_bytes", "next"}
TYPES = {"object": "dict", "array": "list", "integer": "int", "boolean": "bool", "string": "str"}


def inner(schema):
    """Of a schema that may be null, or a list, what it has."""
    schema = openapi.resolve(schema)
    if "oneOf" in schema:
        schema = next(openapi.resolve(one) for one in schema["oneOf"] if one.get("type") != "null")
    return inner(schema["items"]) if "items" in schema else schema


def kind(schema):
    schema = openapi.resolve(schema)
    if "oneOf" in schema:
        return kind(next(one for one in schema["oneOf"] if one.get("type") != "null"))
    found = schema["type"] if isinstance(schema.get("type"), str) else next((one for one in schema.get("type", []) if one != "null"), None)
    return TYPES.get(found)


def compare(path, documented, schema):
    properties = inner(schema).get("properties", {})
    expect(set(documented.get("contains", {})) == set(properties), "%s: RETURN has %s, the contract %s", path,
           sorted(documented.get("contains", {})), sorted(properties))
    for name, field in documented.get("contains", {}).items():
        wanted = kind(properties[name])
        expect(wanted in (None, field["type"]), "%s.%s is a %s, the contract has %s", path, name, field["type"], wanted)
        compare("%s.%s" % (path, name), field, properties[name])


def returns_are_complete(modules):
    for module, code in modules.items():
        for name, documented in yaml.safe_load(code.RETURN).items():
            expect(name in SCHEMAS or name in OF_THE_MODULE, "%s: RETURN has %s", module, name)
            if name in SCHEMAS:
                compare("%s: %s" % (module, name), documented, openapi.SPEC["components"]["schemas"][SCHEMAS[name]])


def role_is_specified():
    role = os.path.join(SOURCE, "roles", "server")
    with open(role + "/defaults/main.yml", encoding="utf-8") as file:
        defaults = yaml.safe_load(file)
    with open(role + "/meta/argument_specs.yml", encoding="utf-8") as file:
        options = yaml.safe_load(file)["argument_specs"]["main"]["options"]
    expect({name: option["default"] for name, option in options.items()} == defaults, "defaults and specification differ")


def test():
    with Collection() as collection:
        returns_are_complete({name: collection.imported(name) for name in MODULES})
        role_is_specified()


main(test)
