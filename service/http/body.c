/* SPDX-License-Identifier: Apache-2.0
 *
 * See body.h.
 */
#include "service/http/body.h"

#include "service/http/json-syntax.h"
#include "service/http/request.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CHUNK_DIGITS_MAX 8 /* leading zeros apart; more are larger than any body */
#define CHUNK_LINE_ROOM  (HTTP_CHUNK_LINE_MAX + 3) /* with CR, LF and zero */

/* Translates an error of the stream. -1; 0: the client has gone. */
static int body_error(int error, struct err *err)
{
    switch (error) {
    case -ETIMEDOUT:
        err_set(err, ErrRequestTimeout, 0, "the request's body did not arrive in time");
        return -1;
    case -EBADMSG:
    case -EMSGSIZE:
        return err_set(err, ErrMalformedRequest, 0,
                       "a line of a chunk has at most %d bytes and ends in CR LF",
                       HTTP_CHUNK_LINE_MAX);
    default:
        return 0; /* the client has gone */
    }
}

/* Makes room for `length` bytes and a zero. */
static int body_reserve(struct http_body *body, uint64_t length, struct err *err)
{
    if (length > REQUEST_BODY_MAX_BYTES)
        return err_set(err, ErrBodyTooLarge, 0, "the body is larger than %d bytes",
                       REQUEST_BODY_MAX_BYTES);
    size_t room = body->room;
    while (room < length + 1)
        room = room == 0 ? (size_t)length + 1 : room * 2;
    if (room == body->room)
        return 0;
    size_t values = room / 2 < JSON_VALUES_MAX ? room / 2 : JSON_VALUES_MAX;
    if (memory_take(&body->memory, 2 * room + values * MEMORY_VALUE_BYTES, err) != 0)
        return -1;
    char *grown = realloc(body->text, room);
    if (!grown)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the request");
    body->text = grown;
    body->room = room;
    assert(body->length < room && room <= body->memory.bytes); /* B1 */
    return 0;
}

/* ---- chunks ---- */

static int chunk_size_parse(char *line, uint64_t *size, struct err *err)
{
    size_t digits = strspn(line, "0123456789abcdefABCDEF");
    const char *rest = line + digits + strspn(line + digits, " \t");
    if (digits == 0 || (*rest && *rest != ';'))
        return err_set(err, ErrMalformedRequest, 0,
                       "a chunk of the body does not begin with its size");
    for (const char *at = rest; *at; at++)
        if ((*at > 0 && *at < ' ' && *at != '\t') || *at == 0x7f)
            return err_set(err, ErrMalformedRequest, 0, "a chunk has a control character");
    line[digits] = '\0';
    line += strspn(line, "0");
    *size = strlen(line) > CHUNK_DIGITS_MAX ? UINT64_MAX / 2 : strtoull(line, NULL, 16);
    return 0;
}

/* Discards the fields behind the last chunk, and the empty line. */
static int trailers_receive(struct http_stream *stream, struct err *err)
{
    static const char *const framing[] = {"Content-Length", "Transfer-Encoding", "Host"};
    char line[CHUNK_LINE_ROOM], *value;
    for (int count = 0; count <= HTTP_TRAILERS_MAX; count++) {
        ssize_t length = http_stream_line(stream, line, sizeof(line));
        if (length < 0)
            return body_error((int)length, err);
        if (length == 0)
            return 1;
        if (http_field_parse(line, &value, err) != 0)
            return -1;
        for (size_t i = 0; i < sizeof(framing) / sizeof(framing[0]); i++)
            if (strcasecmp(line, framing[i]) == 0)
                return err_set(err, ErrMalformedRequest, 0, "%s cannot follow the body", line);
    }
    return err_set(err, ErrMalformedRequest, 0, "there are more than %d fields after the body",
                   HTTP_TRAILERS_MAX);
}

/* Receives a chunk. 1; 0: the client has gone; -1. *is_end: it is the last one. */
static int chunk_receive(struct http_body *body, struct http_stream *stream, bool *is_end,
                         struct err *err)
{
    char line[CHUNK_LINE_ROOM];
    uint64_t size = 0;
    ssize_t length = http_stream_line(stream, line, sizeof(line));
    if (length < 0)
        return body_error((int)length, err);
    if (chunk_size_parse(line, &size, err) != 0 ||
        body_reserve(body, body->length + size, err) != 0)
        return -1;
    *is_end = size == 0;
    if (*is_end)
        return 1;
    int ret = http_stream_read(stream, body->text + body->length, (size_t)size);
    if (ret != 0)
        return body_error(ret, err);
    body->length += (size_t)size;
    length = http_stream_line(stream, line, sizeof("\r\n"));
    if (length < 0)
        return body_error((int)length, err);
    return length == 0 ? 1
                       : err_set(err, ErrMalformedRequest, 0, "a chunk is longer than its size");
}

static int chunks_receive(struct http_body *body, struct http_stream *stream, struct err *err)
{
    for (bool is_end = false; !is_end;) {
        int ret = chunk_receive(body, stream, &is_end, err);
        if (ret <= 0)
            return ret;
    }
    return trailers_receive(stream, err);
}

/* ---- bodies ---- */

int http_body_receive(struct http_body *body, const struct http_head *head,
                      struct http_stream *stream, struct err *err)
{
    static const char proceed[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (body_reserve(body, head->is_chunked ? 0 : head->length, err) != 0)
        return -1;
    bool is_empty = !head->is_chunked && head->length == 0;
    if (head->wants_continue && !is_empty && stream->start == stream->end) {
        int ret = http_stream_write(stream, proceed, sizeof(proceed) - 1, NULL, 0);
        if (ret != 0)
            return body_error(ret, err);
    }
    int ret = 1;
    if (head->is_chunked) {
        ret = chunks_receive(body, stream, err);
    } else {
        int error = http_stream_read(stream, body->text, (size_t)head->length);
        if (error != 0)
            return body_error(error, err);
        body->length = (size_t)head->length;
    }
    assert(body->length < body->room); /* B1 */
    body->text[body->length] = '\0';
    return ret;
}

void http_body_clear(struct http_body *body)
{
    free(body->text);
    body->text = NULL;
    body->length = body->room = 0;
    memory_release(&body->memory);
}
