/* SPDX-License-Identifier: Apache-2.0
 *
 * What http/server.c and http/connection.c share: the server, its connections, and what these are doing.
 *
 *            +--------------------------- the next request ------------------------------+
 *            v                                                                           |
 *   accept -> WAITING --head--> RECEIVING --body--> RUNNING --handler--> SENDING --------+
 *               |  |                |                                       | the last one
 *               |  +----- fault ----+-----------------> SENDING --> LINGERING <
 *               +-> closed: idle, gone, or its place was needed
 *
 * A connection that makes room for a new one is cut off (is_cut) where that harms least: while it waits
 * or lingers, oldest first; else one that has taken its time to send or to read; never while a handler
 * runs.
 */
#ifndef SERVICE_HTTP_CONNECTION_H
#define SERVICE_HTTP_CONNECTION_H

#include "service/http/body.h"
#include "service/http/head.h"
#include "service/http/server.h"
#include "service/http/stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

struct reply;

/* Descriptors kept back for connections that come when there is no other one left. */
#define HTTP_RESERVE_FDS 8

enum http_kind {
    HTTP_UNIX,
    HTTP_UNIX_FORBIDDEN, /* neither root nor the daemon's own user */
    HTTP_TCP,
    HTTP_KIND_COUNT,
};

enum http_phase {
    HTTP_WAITING, /* for a head, or the rest of one */
    HTTP_RECEIVING,
    HTTP_RUNNING,
    HTTP_SENDING,
    HTTP_LINGERING,
};

/* Who is calling: equal peers are equal bytes. */
struct http_peer {
    enum http_kind kind;
    unsigned char id[16]; /* a user's id, or an address */
};

struct http_connection {
    struct http_connection *next; /* http->lock */
    struct http *http;
    pthread_t thread;
    struct http_peer peer;
    bool is_reserve;       /* its descriptor is of the reserve; one request only */
    enum http_phase phase; /* http->lock */
    uint64_t since_ms;     /* http->lock: when the phase began */
    bool is_cut;           /* http->lock: the socket was shut down */
    struct http_stream stream;
    struct http_head head;
};

struct http_listener {
    struct http_listener *next;
    struct listen_socket socket;
};

struct http {
    struct service *service;
    pthread_t acceptor;
    int wake_fd; /* eventfd: a connection has ended, a listener was added, or it is time to stop */
    int null_fd;
    atomic_bool is_stopping;
    char refusal[1024]; /* what a client gets for which there is no room */
    size_t refusal_bytes;

    pthread_mutex_t lock;
    pthread_cond_t ended;
    struct http_listener *listeners;         /* lock */
    struct http_connection *live, *finished; /* lock: finished ones are to be joined */
    size_t live_count;                       /* lock */
    size_t reserve_count;                    /* lock */
    int reserve[HTTP_RESERVE_FDS];           /* lock */
};

/* Begins a phase. False: the connection has been cut off, or there is to be no further request. */
bool http_enter(struct http_connection *connection, enum http_phase phase);

/* The head of a reply (status line, fields, empty line) in `text`; returns its length. */
size_t http_reply_head(const struct reply *reply, bool is_last, char *text, size_t room);

/* Serves a connection to its end; does not close it. */
void http_connection_serve(struct http_connection *connection);

#endif
