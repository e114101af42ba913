# SPDX-License-Identifier: Apache-2.0
"""Compares two versions of an OpenAPI file: what breaks a client that was written for the old one.

A request may not be refused that was accepted; a reply may not lack or change what was promised.
Additions are no breach: clients ignore unknown fields, and take an unknown value of an `enum` of a
reply for one that they do not handle. Both files are given with their references resolved.
"""

METHODS = ("get", "put", "post", "delete", "patch", "head", "options")

# Keyword -> what a request must not do to it.
LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
FIXED = ("pattern", "format", "default", "const", "multipleOf", "uniqueItems")


def types(schema):
    kind = schema.get("type", ["array", "boolean", "integer", "null", "number", "object", "string"])
    kinds = {kind} if isinstance(kind, str) else set(kind)
    return kinds | ({"integer"} if "number" in kinds else set())


def without_null(value):
    return [one for one in value if one is not None]


def schema_changes(old, new, is_request, where):
    """Breaking changes of a schema."""
    wanted, given = (types(old), types(new)) if is_request else (types(new), types(old))
    if not wanted <= given:
        yield "%s: type %s was %s" % (where, new.get("type"), old.get("type"))
        return
    for keyword in FIXED:
        is_dropped = is_request and keyword in ("pattern", "const", "multipleOf", "uniqueItems") and keyword not in new
        if old.get(keyword) != new.get(keyword) and not is_dropped and (is_request or keyword in ("const", "format")):
            yield "%s: %s is %s, was %s" % (where, keyword, new.get(keyword), old.get(keyword))
    if is_request:
        yield from bound_changes(old, new, where)
    else:
        yield from reply_changes(old, new, where)
    yield from property_changes(old, new, is_request, where)
    if "items" in old and "items" in new:
        yield from schema_changes(old["items"], new["items"], is_request, where + "[]")
    for keyword in ("oneOf", "anyOf", "allOf"):
        before, after = old.get(keyword, []), new.get(keyword, [])
        if len(before) != len(after):
            yield "%s: %s has other alternatives" % (where, keyword)
            continue
        for number, (one, other) in enumerate(zip(before, after)):
            yield from schema_changes(one, other, is_request, "%s/%s/%d" % (where, keyword, number))


def bound_changes(old, new, where):
    """What a request may no longer have."""
    for keywords, sign in ((LOWER_BOUNDS, 1), (UPPER_BOUNDS, -1)):
        for keyword in keywords:
            if keyword in new and (keyword not in old or sign * new[keyword] > sign * old[keyword]):
                yield "%s: %s is %s, was %s" % (where, keyword, new[keyword], old.get(keyword))
    if "enum" in new and not set(old.get("enum", [object()])) <= set(new["enum"]):
        yield "%s: enum lost values" % where
    if old.get("additionalProperties") not in (False, None) and new.get("additionalProperties") is False:
        yield "%s: other fields are refused" % where


def reply_changes(old, new, where):
    """What a reply may suddenly have."""
    if "enum" in old and "enum" not in new:
        yield "%s: no enum any more" % where
    if "enum" in old and not set(without_null(old["enum"])) & set(without_null(new.get("enum", old["enum"]))):
        yield "%s: enum has other values" % where


def property_changes(old, new, is_request, where):
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in before:
        if name in after:
            yield from schema_changes(before[name], after[name], is_request, "%s/%s" % (where, name))
        else:
            yield "%s: the field %s is gone" % (where, name)
    must, must_now = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(must_now - must if is_request else must - must_now):
        yield "%s: the field %s is %s" % (where, name, "required now" if is_request else "optional now")


def content_changes(old, new, is_request, where):
    for media_type, body in old.get("content", {}).items():
        if media_type not in new.get("content", {}):
            yield "%s: %s is gone" % (where, media_type)
        else:
            yield from schema_changes(body.get("schema", {}), new["content"][media_type].get("schema", {}), is_request,
                                      where)


def parameter_changes(old, new, where):
    before = {(parameter["in"], parameter["name"]): parameter for parameter in old}
    after = {(parameter["in"], parameter["name"]): parameter for parameter in new}
    for key, parameter in after.items():
        if parameter.get("required") and not before.get(key, {}).get("required"):
            yield "%s: %s is required now" % (where, key[1])
    for key, parameter in before.items():
        if key not in after:
            yield "%s: the parameter %s is gone" % (where, key[1])
        else:
            yield from schema_changes(parameter["schema"], after[key]["schema"], True, "%s?%s" % (where, key[1]))


def response_changes(old, new, where):
    for name, header in old.get("headers", {}).items():
        now = new.get("headers", {}).get(name)
        if not now or (header.get("required") and not now.get("required")):
            yield "%s: the header %s is gone or optional" % (where, name)
        else:
            yield from schema_changes(header["schema"], now["schema"], False, "%s: %s" % (where, name))
    yield from content_changes(old, new, False, where)


def security_changes(old, new, where):
    """Each way in of old still is one: some alternative of new asks for no more."""
    def admits(asked, way):
        return all(scheme in way and set(scopes) <= set(way[scheme]) for scheme, scopes in asked.items())
    for way in old or [{}]:
        if not any(admits(asked, way) for asked in new or [{}]):
            yield "%s: other credentials are needed" % where


def operation_changes(old, new, where):
    if old.get("operationId") != new.get("operationId"):
        yield "%s: operationId is %s" % (where, new.get("operationId"))
    yield from parameter_changes(old.get("parameters", ()), new.get("parameters", ()), where)
    body, body_now = old.get("requestBody", {}), new.get("requestBody", {})
    if body_now.get("required") and not body.get("required"):
        yield "%s: a body is required now" % where
    yield from content_changes(body, body_now, True, where + " body")
    for status, response in old["responses"].items():
        if status not in new["responses"]:
            yield "%s: %s is gone" % (where, status)
        else:
            yield from response_changes(response, new["responses"][status], "%s %s" % (where, status))


def breaking_changes(old, new):
    """A line for each; the version does not matter here."""
    for path, item in old["paths"].items():
        now = new["paths"].get(path, {})
        for method in METHODS:
            if method in item and method not in now:
                yield "%s %s is gone" % (method.upper(), path)
            elif method in item:
                where = "%s %s" % (method.upper(), path)
                yield from parameter_changes(item.get("parameters", ()), now.get("parameters", ()), where)
                yield from operation_changes(item[method], now[method], where)
                yield from security_changes(item[method].get("security", old.get("security")),
                                            now[method].get("security", new.get("security")), where)


def version_allows(old, new):
    """Whether the version says that clients break: its first number is larger, or, while that is 0,
    its second."""
    before, after = ([int(part) for part in spec["info"]["version"].split(".")] for spec in (old, new))
    return after[0] > before[0] or (after[0] == before[0] == 0 and after[1] > before[1])
