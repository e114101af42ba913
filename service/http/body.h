/* SPDX-License-Identifier: Apache-2.0
 *
 * The body of a request: received whole or not at all (RFC 9112, sections 6 and 7), within limits.
 *
 *   rejected with 400 and the end of the connection
 *   ----------------------------------------------------------------------------------------------
 *   lines of a chunk that end in LF alone; chunk data that is not followed by CR LF
 *   a chunk size that is not hexadecimal digits, then nothing or an extension (which is ignored)
 *   lines longer than HTTP_CHUNK_LINE_MAX, more trailer fields than HTTP_TRAILERS_MAX
 *   trailer fields that would change the framing
 *
 * Invariant: B1  text[length] is within the room that memory.bytes covers.
 */
#ifndef SERVICE_HTTP_BODY_H
#define SERVICE_HTTP_BODY_H

#include "service/http/head.h"
#include "service/http/limits.h"
#include "service/memory.h"

/* Zeroed at first, but for memory.memory; to be cleared in any case. */
struct http_body {
    char *text; /* heap; zero-terminated once it is received */
    size_t length, room;
    struct memory_share memory;
};

/* Receives the body that `head` announces. 1; 0: the client has gone; -1: the connection must end.
 * MalformedRequest, BodyTooLarge, RequestTimeout, OutOfResources. */
int http_body_receive(struct http_body *body, const struct http_head *head,
                      struct http_stream *stream, struct err *err);
void http_body_clear(struct http_body *body);

#endif
