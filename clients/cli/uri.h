/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths and queries of requests, written to a stream (open_memstream()) piece by piece.
 */
#ifndef CLI_URI_H
#define CLI_URI_H

#include <stdio.h>

/* The text with everything but the unreserved characters of RFC 3986 as %XX. */
void uri_escape(FILE *to, const char *text);

/* "/" and the escaped segment. */
void uri_segment(FILE *to, const char *segment);

/* "?" or, if it is not the first one, "&", and name=value, escaped. `*count`: those before. */
void uri_parameter(FILE *to, unsigned *count, const char *name, const char *value);

/* The path of these segments, which end with NULL; NULL without memory. The caller frees it. */
char *uri_path(const char *first, ...) __attribute__((sentinel));

#endif
