/* SPDX-License-Identifier: Apache-2.0
 *
 * libmicrohttpd's side of the border. A request passes through three calls of the library, all on
 * its connection's thread:
 *
 *   exchange_begin      the request line is there: an exchange is made; it is the request's context
 *   exchange_continue   once with the headers, once for each piece of the body, once at its end: then
 *                       the handler runs and the reply is queued
 *   exchange_end        the reply is sent, or the connection is gone
 *
 * A body that is too large is read on and dropped up to BODY_DROP_MAX_BYTES: a client that is still
 * sending would otherwise see a reset connection and no reply.
 *
 * Who may call: on a Unix socket root and the daemon's own user, by the peer's credentials. On TCP
 * anyone who can reach the loopback interface, but not a web page in somebody's browser: the Host
 * header must name a loopback address (a page's own host name does not, even if it resolves to
 * one), and a POST needs a content type that browsers do not send across sites unasked.
 */
#include "service/http.h"

#include "base/cleanup.h"
#include "service/routes.h"
#include "service/service.h"

#include <microhttpd.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_DROP_MAX_BYTES (64 * 1024 * 1024)
#define THREAD_STACK_BYTES  (1024 * 1024)

struct listener {
    struct listener *next;
    struct http *http;
    struct MHD_Daemon *daemon;
    struct listen_socket socket;
};

struct http {
    struct service *service;
    struct listener *listeners; /* changed before the first and after the last request only */
    pthread_mutex_t lock;
    pthread_cond_t idle;
    size_t running; /* lock: handlers under way and replies not yet sent */
};

/* One request on its way. */
struct exchange {
    bool begun;   /* the headers were seen */
    bool running; /* counted in http->running */
    char *body;   /* heap; always a terminating zero beyond its end */
    size_t body_bytes, body_room;
    size_t dropped_bytes;
    struct request request;
};

static void exchange_free(struct exchange *exchange)
{
    free(exchange->body);
    request_clear(&exchange->request);
    free(exchange);
}

/* ---- who may call ---- */

static bool peer_is_allowed(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct ucred peer;
    socklen_t bytes = sizeof(peer);
    if (!info || getsockopt(info->connect_fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0)
        return false;
    return peer.uid == 0 || peer.uid == geteuid();
}

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

static int caller_check(const struct listener *listener, struct MHD_Connection *connection,
                        struct err *err)
{
    if (listener->socket.is_unix && !peer_is_allowed(connection))
        return err_set(err, ErrForbidden, 0, "only root and the daemon's own user may call");
    if (!listener->socket.is_unix && !host_is_loopback(MHD_lookup_connection_value(
                                         connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST)))
        return err_set(err, ErrForbidden, 0, "the Host header must name a loopback address");
    return 0;
}

/* ---- replies ---- */

static struct MHD_Response *response_new(struct reply *reply)
{
    static char nothing[1];
    bool heap = reply->body != NULL;
    void *body = heap ? reply->body : reply->static_body ? (void *)reply->static_body : nothing;
    struct MHD_Response *response = MHD_create_response_from_buffer(
        reply->body_bytes, body, heap ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (response)
        reply->body = NULL;
    return response;
}

static enum MHD_Result reply_send(struct MHD_Connection *connection, struct reply *reply)
{
    struct MHD_Response *response = response_new(reply);
    if (!response)
        return MHD_NO;
    if (reply->content_type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->content_type);
    if (reply->location)
        MHD_add_response_header(response, MHD_HTTP_HEADER_LOCATION, reply->location);
    if (reply->allow)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, reply->allow);
    enum MHD_Result queued = MHD_queue_response(connection, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    return queued;
}

/* ---- requests ---- */

static void *exchange_begin(void *unused, const char *uri, struct MHD_Connection *connection)
{
    (void)unused;
    (void)connection;
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    if (!exchange)
        return NULL;
    exchange->request.uri = strdup(uri);
    return exchange;
}

static void exchange_end(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why)
{
    struct http *http = ((struct listener *)arg)->http;
    struct exchange *exchange = *context;
    (void)connection;
    (void)why;
    *context = NULL;
    if (!exchange)
        return;
    if (exchange->running) {
        LOCK_GUARD(&http->lock);
        if (--http->running == 0)
            pthread_cond_broadcast(&http->idle);
    }
    exchange_free(exchange);
}

/* Keeps a piece of the body, or drops it if there is too much of it. */
static enum MHD_Result body_append(struct exchange *exchange, const char *piece, size_t bytes)
{
    if (exchange->body_bytes + bytes > REQUEST_BODY_MAX_BYTES || exchange->dropped_bytes > 0) {
        exchange->dropped_bytes += bytes;
        return exchange->dropped_bytes <= BODY_DROP_MAX_BYTES ? MHD_YES : MHD_NO;
    }
    size_t needed = exchange->body_bytes + bytes + 1;
    if (needed > exchange->body_room) {
        size_t room = needed * 2;
        char *grown = realloc(exchange->body, room);
        if (!grown)
            return MHD_NO;
        exchange->body = grown;
        exchange->body_room = room;
    }
    memcpy(exchange->body + exchange->body_bytes, piece, bytes);
    exchange->body_bytes += bytes;
    exchange->body[exchange->body_bytes] = '\0';
    return MHD_YES;
}

static void request_fill(struct exchange *exchange, struct MHD_Connection *connection,
                         const char *method)
{
    struct request *request = &exchange->request;
    const char *encoding =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_ENCODING);
    request->method = method;
    request->content_type =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
    request->encoded = encoding && strcasecmp(encoding, "identity") != 0;
    request->body = exchange->body ? exchange->body : "";
    request->body_bytes = exchange->body_bytes;
    request->body_too_large = exchange->dropped_bytes > 0;
}

static enum MHD_Result exchange_run(struct listener *listener, struct exchange *exchange,
                                    struct MHD_Connection *connection, const char *method)
{
    struct http *http = listener->http;
    CLEANUP_BY(reply_clear) struct reply reply = {0};
    struct err err;
    pthread_mutex_lock(&http->lock);
    http->running++;
    exchange->running = true;
    pthread_mutex_unlock(&http->lock);

    /* The library would take a long handler for an idle connection and close it before the reply.
     */
    MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
    request_fill(exchange, connection, method);
    if (caller_check(listener, connection, &err) != 0)
        reply_error(&reply, &err);
    else
        routes_dispatch(http->service, &exchange->request, &reply);
    MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)HTTP_IDLE_S);
    return reply_send(connection, &reply);
}

/* Whether the client waits for a word before it sends a body that is too large anyway. */
static bool body_is_refused(struct MHD_Connection *connection)
{
    const char *expect =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT);
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return expect && length && strcasecmp(expect, "100-continue") == 0 &&
           strtoull(length, NULL, 10) > REQUEST_BODY_MAX_BYTES;
}

static enum MHD_Result exchange_continue(void *arg, struct MHD_Connection *connection,
                                         const char *url, const char *method, const char *version,
                                         const char *piece, size_t *bytes, void **context)
{
    struct exchange *exchange = *context;
    (void)url;
    (void)version;
    if (!exchange || !exchange->request.uri)
        return MHD_NO;
    if (!exchange->begun) {
        exchange->begun = true;
        if (!body_is_refused(connection))
            return MHD_YES;
        exchange->dropped_bytes = 1;
        return exchange_run(arg, exchange, connection, method);
    }
    if (*bytes > 0) {
        enum MHD_Result kept = body_append(exchange, piece, *bytes);
        *bytes = 0;
        return kept;
    }
    return exchange_run(arg, exchange, connection, method);
}

/* ---- life ---- */

struct http *http_new(struct service *service, struct err *err)
{
    struct http *http = calloc(1, sizeof(*http));
    if (!http) {
        err_set(err, ErrOutOfResources, 0, "there is no memory for the HTTP server");
        return NULL;
    }
    http->service = service;
    pthread_mutex_init(&http->lock, NULL);
    pthread_cond_init(&http->idle, NULL);
    return http;
}

int http_listen(struct http *http, struct listen_socket *listening, struct err *err)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    if (listener) {
        *listener = (struct listener){.http = http, .socket = *listening};
        listener->daemon = MHD_start_daemon(
            MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL,
            NULL, exchange_continue, listener, MHD_OPTION_LISTEN_SOCKET, listening->fd,
            MHD_OPTION_URI_LOG_CALLBACK, exchange_begin, NULL, MHD_OPTION_NOTIFY_COMPLETED,
            exchange_end, listener, MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX,
            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_S, MHD_OPTION_THREAD_STACK_SIZE,
            (size_t)THREAD_STACK_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    }
    if (!listener || !listener->daemon) {
        free(listener);
        close(listening->fd);
        listen_unlink(listening);
        return err_set(err, ErrOutOfResources, 0, "cannot start serving '%s'", listening->address);
    }
    listener->next = http->listeners;
    http->listeners = listener;
    return 0;
}

void http_free(struct http *http)
{
    for (struct listener *listener = http->listeners; listener; listener = listener->next) {
        listen_unlink(&listener->socket);
        MHD_quiesce_daemon(listener->daemon);
    }
    pthread_mutex_lock(&http->lock);
    while (http->running > 0)
        pthread_cond_wait(&http->idle, &http->lock);
    pthread_mutex_unlock(&http->lock);
    while (http->listeners) {
        struct listener *listener = http->listeners;
        http->listeners = listener->next;
        MHD_stop_daemon(listener->daemon);
        close(listener->socket.fd);
        free(listener);
    }
    pthread_cond_destroy(&http->idle);
    pthread_mutex_destroy(&http->lock);
    free(http);
}
