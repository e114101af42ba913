/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a text is JSON by the letter of RFC 8259. cJSON, which builds the tree afterwards, is
 * lenient: it takes control characters for white space, "01" and "1." for numbers, raw newlines and
 * bytes that are not UTF-8 in strings, a byte order mark in front, and it ends a string at
 * "\u0000".
 */
#ifndef SERVICE_JSON_SYNTAX_H
#define SERVICE_JSON_SYNTAX_H

#include "base/err.h"

#include <stddef.h>

/* Arrays and objects may stand in one another this deep. */
#define JSON_DEPTH_MAX 16

/* MalformedJSON: the message says what is wrong and at which byte (from 0). */
int json_syntax_check(const char *text, size_t bytes, struct err *err);

#endif
