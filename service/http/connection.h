/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection: its socket, what its thread is doing, and until when.
 *
 *            +------------------------- the next request --------------------------+
 *            v                                                                       |
 *   accept -> WAITING --head--> RECEIVING --body--> RUNNING --handler--> SENDING ----+
 *                |                  |                                     ^   |
 *                +----- fault ------+-------------------------------------+   +--last--> LINGERING
 *
 * A stream's connection ends after its head: its socket goes to subscribers.h. TLS shakes hands
 * while WAITING for the first head, within its deadline; plain text in its place is a fault.
 *
 * Invariants:
 *   C1  Only the connection's own thread changes its phase, along the arrows above.
 *   C2  A connection whose handler runs is never cut off: a change that was begun gets its reply.
 *       Any other one may be, while server.c makes room (http_connection_harm_locked) or stops.
 *   C3  Every phase but RUNNING has a deadline for the whole of it, not for each byte.
 */
#ifndef SERVICE_HTTP_CONNECTION_H
#define SERVICE_HTTP_CONNECTION_H

#include "service/http/auth.h"
#include "service/http/certificates.h"
#include "service/http/head.h"
#include "service/http/limits.h"
#include "service/http/stream.h"
#include "service/http/throttle.h"
#include "service/option-value.h"

#include <pthread.h>
#include <stdatomic.h>

struct http;
struct reply;
struct service;
struct subscriber;
struct subscribers;

/* See HTTP_REPLY_S. */
#define HTTP_REPLY_SLICE_BYTES (256 * 1024)

/* Seconds after the last reply, for the client to close the connection. */
#define HTTP_LINGER_S 2

enum http_phase {
    HTTP_WAITING, /* for a head, or the rest of one */
    HTTP_RECEIVING,
    HTTP_RUNNING,
    HTTP_SENDING,
    HTTP_LINGERING,
};

/* What a server's connections share. */
struct http_shared {
    struct service *service;
    pthread_mutex_t lock;
    struct subscribers *subscribers;
    atomic_bool is_stopping;  /* no further request is received */
    struct throttle failures; /* of callers to prove that they may call */
    struct http_certificates certificates;
    /* Who may call: changed by http_apply_terms(). */
    struct option_groups groups;           /* lock */
    struct option_addresses client_scopes; /* lock: "NAME=SCOPE" of certificates */
    atomic_uint terms_number;              /* grows with each change; written under the lock */
};

struct http_connection {
    struct http_shared *shared;
    struct principal principal; /* written by its own thread, under shared->lock */
    unsigned terms_number;      /* by whose terms the principal was judged */
    bool has_tls;
    bool is_reserve;       /* its descriptor is of the server's reserve; one request only */
    enum http_phase phase; /* shared->lock */
    uint64_t since_ms;     /* shared->lock: when the phase began */
    bool is_cut;           /* shared->lock: the socket was shut down */
    struct http_stream stream;
    struct http_head head;

    /* The server's. */
    struct http *http;
    struct http_connection *next; /* shared->lock */
    pthread_t thread;
};

/* Begins a phase that may take `seconds` (0: RUNNING, which has no limit). False: the connection
 * has been cut off, or no further request is wanted. */
bool http_enter(struct http_connection *connection, enum http_phase phase, unsigned seconds);

/* Judges the client again if the terms have changed since it was. Before each request is judged. */
void http_connection_judge(struct http_connection *connection);

/* Waits for a request and receives its head; before the first one it shakes hands, if the
 * connection has TLS. As http_head_receive(). */
int http_connection_receive_head(struct http_connection *connection, bool is_first,
                                 struct err *err);

/* Sends the reply, and after the last one waits for the client to close. False: the connection has
 * ended. */
bool http_connection_reply(struct http_connection *connection, const struct reply *reply,
                           bool is_last);

/* Sends the head of a stream and hands the socket to the subscriber, which is consumed. The
 * connection has ended, and has no descriptor if that was handed over. */
void http_connection_hand_over(struct http_connection *connection, const struct reply *reply,
                               struct subscriber *subscriber);

/* How much it harms to cut the connection off now; UINT64_MAX: it must not be. Idle ones come
 * first, oldest first, then those that have taken long to send or to read. */
uint64_t http_connection_harm_locked(const struct http_connection *connection, uint64_t now_ms);

/* Shuts the socket down, so that the connection's thread ends soon. Not while the handler runs. */
void http_connection_cut_locked(struct http_connection *connection);

#endif
