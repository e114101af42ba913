/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a text is JSON by the letter of RFC 8259. cJSON, which builds the tree afterwards, is
 * lenient: it takes control characters for white space, "01" and "1." for numbers, raw newlines and
 * bytes that are not UTF-8 in strings, a byte order mark in front, and it ends a string at
 * "\u0000". It also reads numbers as doubles, which hides that 9007199254740993 is no double, and takes
 * some 20 times the text's size for "[0,0,0": so values are counted here, before there is a tree.
 */
#ifndef SERVICE_HTTP_JSON_SYNTAX_H
#define SERVICE_HTTP_JSON_SYNTAX_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/* Arrays and objects may stand in one another this deep. */
#define JSON_DEPTH_MAX 16

/* Values of a text, arrays and objects among them: the largest group has some 4,200. */
#define JSON_VALUES_MAX 8192

#define JSON_NO_NUMBER SIZE_MAX

/*
 * MalformedJSON: the message says what is wrong and at which byte (from 0).
 *
 * Else *rounded is the position, among the numbers of the text, of the first one that a double would
 * turn into a whole number of at most 2^53 that the text does not say; JSON_NO_NUMBER: there is none.
 */
int json_syntax_check(const char *text, size_t bytes, size_t *rounded, struct err *err);

#endif
