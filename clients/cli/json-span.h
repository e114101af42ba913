/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the members of a JSON object lie in its text, so that it can be taken apart without
 * changing a byte of a value.
 */
#ifndef CLI_JSON_SPAN_H
#define CLI_JSON_SPAN_H

#include <stddef.h>

struct json_span {
    const char *key; /* with its quotes */
    size_t key_bytes;
    const char *value;
    size_t value_bytes;
};

/* Finds the next member of the object that `*at` is in, or begins (at its brace), and moves `*at`
 * behind it. 1, or 0: there is none. The text is known to be valid JSON. */
int json_span_next(const char **at, struct json_span *span);

#endif
