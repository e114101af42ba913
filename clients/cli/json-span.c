/* SPDX-License-Identifier: Apache-2.0
 *
 * See json-span.h.
 */
#include "clients/cli/json-span.h"

#include <string.h>

static const char *spaces_skip(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

static const char *string_skip(const char *at)
{
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1])
            at++;
    return *at ? at + 1 : at;
}

/* Behind a value: up to what ends it at its own depth. */
static const char *value_skip(const char *at)
{
    for (unsigned depth = 0; *at;) {
        if (*at == '"') {
            at = string_skip(at);
        } else {
            if (depth == 0 && strchr(",]} \t\r\n", *at))
                return at;
            depth += *at == '[' || *at == '{';
            depth -= *at == ']' || *at == '}';
            at++;
        }
        if (depth == 0 && (at[-1] == ']' || at[-1] == '}' || at[-1] == '"'))
            return at;
    }
    return at;
}

int json_span_next(const char **at, struct json_span *span)
{
    const char *c = spaces_skip(*at);
    if (*c == '{' || *c == ',')
        c = spaces_skip(c + 1);
    if (*c != '"')
        return 0;
    span->key = c;
    c = string_skip(c);
    span->key_bytes = (size_t)(c - span->key);
    c = spaces_skip(c);
    c = spaces_skip(*c == ':' ? c + 1 : c);
    span->value = c;
    c = value_skip(c);
    span->value_bytes = (size_t)(c - span->value);
    *at = c;
    return 1;
}
