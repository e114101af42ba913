/* SPDX-License-Identifier: Apache-2.0
 *
 * See connection.h. Runs on the connection's own thread, but for the functions named _locked, which
 * the server calls.
 */
#include "service/http/connection.h"

#include "base/cleanup.h"
#include "base/monotonic.h"
#include "service/http/reply.h"
#include "service/http/subscribers.h"
#include "service/http/tls.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* In the phases of sending and receiving a connection is safe from being cut off for so long. */
#define BUSY_MS 1000

/* ---- phases ---- */

static void http_assert_phase_locked(const struct http_connection *connection)
{
    (void)connection;
    assert(connection->phase >= HTTP_WAITING && connection->phase <= HTTP_LINGERING);
    assert(connection->since_ms > 0);
    assert(!(connection->is_cut && connection->phase == HTTP_RUNNING));              /* C2 */
    assert(connection->phase == HTTP_WAITING || connection->stream.deadline_ms > 0); /* C3 */
}

/* C1: the arrows of the diagram. From the accept on a connection is WAITING. */
static bool __attribute__((unused)) phase_may_follow(enum http_phase phase, enum http_phase next)
{
    switch (next) {
    case HTTP_WAITING:
        return phase == HTTP_WAITING || phase == HTTP_SENDING;
    case HTTP_RECEIVING:
        return phase == HTTP_WAITING;
    case HTTP_RUNNING:
        return phase == HTTP_RECEIVING;
    case HTTP_SENDING:
        return phase != HTTP_LINGERING;
    default:
        return next == HTTP_LINGERING && phase == HTTP_SENDING;
    }
}

bool http_enter(struct http_connection *connection, enum http_phase phase, unsigned seconds)
{
    struct http_shared *shared = connection->shared;
    assert((seconds == 0) == (phase == HTTP_RUNNING)); /* C3 */
    LOCK_GUARD(&shared->lock);
    http_assert_phase_locked(connection);
    assert(phase_may_follow(connection->phase, phase)); /* C1 */
    if (connection->is_cut || (phase == HTTP_WAITING && atomic_load(&shared->is_stopping)))
        return false;
    connection->phase = phase;
    connection->since_ms = clock_monotonic_ms();
    if (seconds > 0)
        http_stream_allow(&connection->stream, seconds);
    http_assert_phase_locked(connection);
    return true;
}

uint64_t http_connection_harm_locked(const struct http_connection *connection, uint64_t now_ms)
{
    bool is_idle = connection->phase == HTTP_WAITING || connection->phase == HTTP_LINGERING;
    bool is_slow = connection->since_ms + BUSY_MS <= now_ms;
    if (connection->is_cut || connection->phase == HTTP_RUNNING || (!is_idle && !is_slow))
        return UINT64_MAX;
    return connection->since_ms + (is_idle ? 0 : UINT64_MAX / 2);
}

void http_connection_cut_locked(struct http_connection *connection)
{
    assert(connection->phase != HTTP_RUNNING); /* C2 */
    connection->is_cut = true;
    shutdown(connection->stream.fd, SHUT_RDWR);
    http_assert_phase_locked(connection);
}

/* ---- receiving ---- */

/* By its certificate, once the client has shaken hands. */
static void connection_identify_locked(struct http_connection *connection)
{
    struct tls_names names;
    http_tls_names(connection->stream.tls, &names);
    principal_identify(&connection->principal, &names, &connection->shared->client_scopes);
}

void http_connection_judge(struct http_connection *connection)
{
    struct http_shared *shared = connection->shared;
    if (atomic_load(&shared->terms_number) == connection->terms_number)
        return;
    LOCK_GUARD(&shared->lock);
    connection->terms_number = atomic_load(&shared->terms_number);
    if (connection->principal.kind != PRINCIPAL_TCP)
        principal_init(&connection->principal, connection->stream.fd, true, &shared->groups);
    else if (connection->stream.tls)
        connection_identify_locked(connection);
}

/* Shakes hands and learns who the client is. */
static int connection_start_tls(struct http_connection *connection)
{
    connection->stream.tls = http_tls_new(http_certificates_ref(&connection->shared->certificates),
                                          connection->stream.fd);
    if (!connection->stream.tls)
        return -ENOMEM;
    int ret = http_stream_handshake(&connection->stream);
    if (ret != 0)
        return ret;
    LOCK_GUARD(&connection->shared->lock);
    connection_identify_locked(connection);
    return 0;
}

int http_connection_receive_head(struct http_connection *connection, bool is_first, struct err *err)
{
    struct http_stream *stream = &connection->stream;
    connection->head.method = NULL;
    if (!http_enter(connection, HTTP_WAITING, is_first ? HTTP_HEAD_S : HTTP_IDLE_S))
        return 0;
    bool begins_tls = is_first && connection->has_tls;
    if (begins_tls && http_stream_is_plain(stream))
        return err_set(err, ErrMalformedRequest, 0,
                       "this address is served with TLS; send the request to https://");
    if ((begins_tls && connection_start_tls(connection) != 0) || http_stream_wait(stream) != 0)
        return 0;
    if (!is_first)
        http_stream_allow(stream, HTTP_HEAD_S);
    return http_head_receive(&connection->head, stream, err);
}

/* ---- sending ---- */

static int connection_send(struct http_connection *connection, const struct reply *reply,
                           bool is_last)
{
    char head[REPLY_HEAD_BYTES];
    struct http_stream *stream = &connection->stream;
    const char *body = reply->body ? reply->body : reply->static_body;
    bool has_body = !connection->head.method || strcmp(connection->head.method, "HEAD") != 0;
    size_t body_bytes = has_body ? reply->body_bytes : 0;
    size_t head_bytes = reply_head_format(reply, is_last, head, sizeof(head));
    if (!http_enter(connection, HTTP_SENDING,
                    HTTP_REPLY_S + (unsigned)(body_bytes / HTTP_REPLY_SLICE_BYTES)))
        return -ECONNRESET;
    return http_stream_write(stream, head, head_bytes, body, body_bytes);
}

bool http_connection_reply(struct http_connection *connection, const struct reply *reply,
                           bool is_last)
{
    assert(is_last || !connection->head.is_last);
    if (connection_send(connection, reply, is_last) != 0)
        return false;
    if (is_last && http_enter(connection, HTTP_LINGERING, HTTP_LINGER_S))
        http_stream_linger(&connection->stream);
    return !is_last;
}

void http_connection_hand_over(struct http_connection *connection, const struct reply *reply,
                               struct subscriber *subscriber)
{
    int ret = connection_send(connection, reply, true);
    LOCK_GUARD(&connection->shared->lock);
    if (ret == 0 && !connection->is_cut)
        subscriber_start(subscriber, &connection->stream);
    else
        subscriber_free(subscriber);
}
