/* SPDX-License-Identifier: Apache-2.0
 *
 * The head of an HTTP/1.1 request, by the letter of RFC 9112 and stricter where that leaves a
 * choice: two programs that read a head differently disagree about where the next request begins,
 * and one of them serves bytes that are a body to the other (request smuggling).
 *
 *   rejected with 400 and the end of the connection
 *   ----------------------------------------------------------------------------------------------
 *   lines that end in LF alone, a CR, a zero or another control character within a line
 *   a field continued on the next line; a blank before the colon; a name that is not a token
 *   more than one blank in the request line; a target with a fragment or bytes outside of ASCII
 *   no Host (from HTTP/1.1 on), two of them, or one that is not a host
 *   two of Content-Length, Transfer-Encoding or Content-Type, even if they agree; lists in them
 *   Content-Length with Transfer-Encoding; a transfer coding other than "chunked"; one in HTTP/1.0
 *
 * One empty line in front of the request line is skipped, as old clients send it (section 2.2).
 *
 * Invariant: H1  `text` holds `used` bytes: whole lines, each with its zero; every pointer points
 * into it.
 */
#ifndef SERVICE_HTTP_HEAD_H
#define SERVICE_HTTP_HEAD_H

#include "base/err.h"
#include "service/http/limits.h"
#include "service/http/stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_field {
    const char *name, *value;
};

struct http_head {
    const char *method;
    char *target;
    const char *host; /* NULL in HTTP/1.0 only */
    bool is_chunked;  /* else the body has `length` bytes */
    uint64_t length;
    bool wants_continue; /* the client waits for 100 Continue before it sends the body */
    bool is_last;        /* the client expects no second reply */
    bool has_minor_0;    /* HTTP/1.0 */

    size_t field_count, used;
    struct http_field fields[HTTP_FIELDS_MAX];
    char text[HTTP_HEAD_MAX_BYTES]; /* what the pointers above point into */
};

/* The value of the field `name`, counting from 0 those of that name; NULL: there is none. */
const char *http_head_field(const struct http_head *head, const char *name, size_t nth);

/* Receives a head. 1; 0: the client has gone; -1: the connection must end. MalformedRequest,
 * URITooLong, HeadersTooLarge, VersionNotSupported, RequestTimeout. */
int http_head_receive(struct http_head *head, struct http_stream *stream, struct err *err);

/* Splits a field line into name and value, trimmed. MalformedRequest. */
int http_field_parse(char *line, char **value, struct err *err);

#endif
