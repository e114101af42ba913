/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection, from its first request to its last, on its own thread: receives a request whole, checks
 * who is calling, runs the handler, sends the reply.
 *
 * Where a request cannot be received, whatever the reason, the problem is the connection's last reply:
 * what follows is dropped and never looked at, since nobody knows what it is.
 *
 * Who may call: on a Unix socket root and the daemon's own user, by the peer's credentials. On TCP
 * anyone who can reach the loopback interface, but not a web page in somebody's browser: the Host
 * header must name a loopback address (a page's own host name does not, even if it resolves to
 * one), and a POST needs a content type that browsers do not send across sites unasked.
 */
#include "service/http/connection.h"

#include "service/http/reply.h"
#include "service/http/routes.h"
#include "service/service.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define REPLY_HEAD_BYTES 1024
#define RETRY_AFTER_S    1

static void stream_allow(struct http_stream *stream, unsigned seconds)
{
    stream->deadline_ms = http_clock_ms() + seconds * 1000ULL;
}

/* ---- who may call ---- */

static bool host_is_loopback(const char *host)
{
    static const char *const names[] = {"localhost", "127.", "[::1]"};
    if (!host)
        return false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t length = strlen(names[i]);
        if (strncasecmp(host, names[i], length) != 0)
            continue;
        host += length;
        if (names[i][length - 1] == '.')
            host += strspn(host, "0123456789.");
        return *host == '\0' || *host == ':';
    }
    return false;
}

/* Whether the target names no host, or one like that of the header. */
static bool target_is_loopback(const char *target)
{
    static const char scheme[] = "http://";
    char host[256];
    if (*target == '/' || strncasecmp(target, scheme, sizeof(scheme) - 1) != 0)
        return true;
    target += sizeof(scheme) - 1;
    snprintf(host, sizeof(host), "%.*s", (int)strcspn(target, "/?"), target);
    return host_is_loopback(host);
}

static int caller_check(const struct http_connection *connection, struct err *err)
{
    const struct http_head *head = &connection->head;
    if (connection->peer.kind == HTTP_UNIX_FORBIDDEN)
        return err_set(err, ErrForbidden, 0, "only root and the daemon's own user may call");
    if (connection->peer.kind == HTTP_TCP &&
        (!host_is_loopback(head->host) || !target_is_loopback(head->target)))
        return err_set(err, ErrForbidden, 0, "the Host header must name a loopback address");
    return 0;
}

/* ---- replies ---- */

static void date_format(char text[32])
{
    struct tm tm;
    time_t now = time(NULL);
    gmtime_r(&now, &tm);
    strftime(text, 32, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

struct head_text {
    char *text;
    size_t used, room;
};

static void head_add(struct head_text *head, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void head_add(struct head_text *head, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(head->text + head->used, head->room - head->used, format, args);
    va_end(args);
    assert(length >= 0 && (size_t)length < head->room - head->used);
    head->used += (size_t)length;
}

size_t http_reply_head(const struct reply *reply, bool is_last, char *text, size_t room)
{
    char date[32];
    struct head_text head = {.text = text, .room = room};
    date_format(date);
    head_add(&head, "HTTP/1.1 %d %s\r\n", reply->status, reply_phrase(reply->status));
    head_add(&head, "Date: %s\r\n", date);
    if (reply->content_type)
        head_add(&head, "Content-Type: %s\r\n", reply->content_type);
    if (reply->status != 204)
        head_add(&head, "Content-Length: %zu\r\n", reply->body_bytes);
    if (reply->location)
        head_add(&head, "Location: %s\r\n", reply->location);
    if (reply->allow)
        head_add(&head, "Allow: %s\r\n", reply->allow);
    if (reply->status == 503)
        head_add(&head, "Retry-After: %d\r\n", RETRY_AFTER_S);
    if (is_last)
        head_add(&head, "Connection: close\r\n");
    head_add(&head, "\r\n");
    return head.used;
}

/* Sends the reply. False: the connection has ended. */
static bool reply_send(struct http_connection *connection, const struct reply *reply, bool is_last)
{
    char head[REPLY_HEAD_BYTES];
    struct http_stream *stream = &connection->stream;
    const char *body = reply->body ? reply->body : reply->static_body;
    bool has_body = !connection->head.method || strcmp(connection->head.method, "HEAD") != 0;
    size_t body_bytes = has_body ? reply->body_bytes : 0;
    size_t head_bytes = http_reply_head(reply, is_last, head, sizeof(head));
    if (!http_enter(connection, HTTP_SENDING))
        return false;
    stream_allow(stream, HTTP_REPLY_S + (unsigned)(body_bytes / HTTP_REPLY_SLICE_BYTES));
    return http_stream_write(stream, head, head_bytes, body, body_bytes) == 0;
}

/* The last reply of a connection whose next request cannot be told. */
static void reply_fault(struct http_connection *connection, const struct err *err)
{
    CLEANUP_BY(reply_clear) struct reply reply = {0};
    reply_error(&reply, err);
    if (!reply_send(connection, &reply, true) || !http_enter(connection, HTTP_LINGERING))
        return;
    stream_allow(&connection->stream, HTTP_LINGER_S);
    http_stream_linger(&connection->stream);
}

/* ---- requests ---- */

/* Receives all of a request but its body. As http_head_receive(). */
static int head_receive(struct http_connection *connection, bool is_first, struct err *err)
{
    struct http_stream *stream = &connection->stream;
    connection->head.method = NULL;
    stream_allow(stream, is_first ? HTTP_HEAD_S : HTTP_IDLE_S);
    if (http_stream_wait(stream) != 0)
        return 0;
    if (!is_first)
        stream_allow(stream, HTTP_HEAD_S);
    int ret = http_head_receive(&connection->head, stream, err);
    return ret == 1 ? caller_check(connection, err) == 0 ? 1 : -1 : ret;
}

static int body_receive(struct http_connection *connection, struct http_body *body, struct err *err)
{
    if (!http_enter(connection, HTTP_RECEIVING))
        return 0;
    stream_allow(&connection->stream, HTTP_BODY_S);
    return http_body_receive(body, &connection->head, &connection->stream, err);
}

/* Runs the handler; what the reply takes of the common memory is in `share`. */
static void request_run(struct http_connection *connection, struct http_body *body,
                        struct memory_share *share, struct reply *reply)
{
    struct err err;
    struct http_head *head = &connection->head;
    struct request request = {.method = head->method,
                              .content_type = head->content_type,
                              .encoded = head->is_encoded,
                              .body = body->text,
                              .body_bytes = body->length,
                              .uri = head->target};
    routes_dispatch(connection->http->service, &request, reply);
    http_body_clear(body);
    if (reply->body && memory_take(share, reply->body_bytes, &err) != 0)
        reply_error(reply, &err);
}

/* Serves one request. False: it was the last one. */
static bool connection_serve_one(struct http_connection *connection, bool is_first)
{
    struct err err;
    struct memory *memory = &connection->http->service->memory;
    CLEANUP_BY(http_body_clear) struct http_body body = {.memory.memory = memory};
    CLEANUP_BY(memory_release) struct memory_share share = {.memory = memory};
    CLEANUP_BY(reply_clear) struct reply reply = {0};
    if (!http_enter(connection, HTTP_WAITING))
        return false;
    int ret = head_receive(connection, is_first, &err);
    if (ret == 1)
        ret = body_receive(connection, &body, &err);
    if (ret == -1)
        reply_fault(connection, &err);
    if (ret != 1 || !http_enter(connection, HTTP_RUNNING))
        return false;
    request_run(connection, &body, &share, &reply);
    bool is_last = connection->head.is_last || connection->is_reserve ||
                   atomic_load(&connection->http->is_stopping);
    if (!reply_send(connection, &reply, is_last))
        return false;
    if (!is_last)
        return true;
    if (http_enter(connection, HTTP_LINGERING)) {
        stream_allow(&connection->stream, HTTP_LINGER_S);
        http_stream_linger(&connection->stream);
    }
    return false;
}

void http_connection_serve(struct http_connection *connection)
{
    for (bool is_first = true; connection_serve_one(connection, is_first);)
        is_first = false;
}
