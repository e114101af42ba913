/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a text is JSON by the letter of RFC 8259. The tree is cJSON's, which is lenient: it
 * accepts control characters as white space, "01" and "1." as numbers, raw newlines and bytes that
 * are not UTF-8 in strings, a byte order mark in front, and ends a string at "\u0000".
 *
 * Why our own: jansson 2.14, Debian 12's, has
 *   - of two members of one name a position, but no pointer
 *   - no limit on values while it reads, and one of 2048 on depth: 1 MiB of "[],[]," takes 47 MB
 *   - numbers rounded unless they are written as integers: 511.99999999999999999 becomes 512
 *   - of a syntax error the end of its token, rather than the byte
 */
#ifndef SERVICE_HTTP_JSON_SYNTAX_H
#define SERVICE_HTTP_JSON_SYNTAX_H

#include "base/err.h"
#include "service/http/limits.h"

#include <stddef.h>

/*
 * MalformedJSON: the message says the fault and its byte (from 0).
 *
 * A number that cJSON's double would round to a whole number of at most 2^53 is overwritten with an
 * infinite one, 1e999, so that no field accepts it.
 */
int json_syntax_check(char *text, size_t bytes, struct err *err);

#endif
