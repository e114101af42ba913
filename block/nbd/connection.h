/* SPDX-License-Identifier: Apache-2.0
 *
 * The NBD server's objects, which its parts share. Types only.
 *
 *   nbd_server --> listeners                 base/listener.h; one thread for all, "nbd-accept",
 *        |                                   which asks admission.c who may come in
 *        |
 *        +-------> live: connection, ...     each with its own thread, "nbd-conn", which runs
 *        |                                   handshake.c, then transmission.c
 *        +-------> pool: threads, ...        pool.c; "nbd-pool", for requests that may wait
 *        +-------> finished: connection, ... their threads are over
 *
 * A connection's life: admitted by nbd-accept into `live`; its thread runs the two phases, gives
 * the device back, moves the connection to `finished` and closes the socket; nbd-accept, at the end
 * nbd_server_free, joins the thread and frees it. So whatever is in `live` has an open socket that
 * may be shut down under the lock, and a client that sees its connection closed finds the device
 * free.
 */
#ifndef BLOCK_NBD_CONNECTION_H
#define BLOCK_NBD_CONNECTION_H

#include "base/listener.h"
#include "block/block.h"
#include "block/device/exports.h"
#include "block/limits.h"
#include "block/nbd/channel.h"
#include "block/nbd/pool.h"

#include <pthread.h>

struct tls_credentials;

/* Connections still in the handshake are counted for each kind of listener. */
enum nbd_kind { NBD_UNIX, NBD_LOOPBACK, NBD_REMOTE, NBD_KINDS };

/* Who is at the other end: an address (IPv4 as IPv6 has it; of other IPv6 the network, 64 bits) or
 * a user. */
struct nbd_peer {
    enum nbd_kind kind;
    unsigned char id[16];
};

struct nbd_limits {
    unsigned handshake_ms;     /* for a handshake, or for the next option of it that is of use */
    unsigned handshake_max_ms; /* for all of it */
    unsigned stop_ms;          /* for a connection to send its last replies when the server stops */
    unsigned linger_ms;        /* for a peer to hang up once it has been told to */
    unsigned connections;      /* in all; Unix sockets may have every one */
    unsigned tcp_connections;  /* of them over TCP: the rest is kept for Unix sockets */
    unsigned tcp_peer;         /* of these from one address */
    unsigned unix_peer;   /* from the daemon's own user, unless that is root: the rest is root's */
    unsigned handshakes;  /* of each kind not done with it; a newer one ends the oldest */
    unsigned spare_files; /* descriptors that are left to others, or a quarter of all if less */
    unsigned options;     /* in one handshake that are of no use */
    /* For one connection; when they are reached, no more is received. For all connections together
     * the server's budget is the limit (nbd/budget.h). */
    unsigned tasks;    /* requests in the pool, with those whose replies are not sent yet */
    size_t task_bytes; /* of payloads and replies of these; one task may be of any size */
};

struct nbd_server {
    pthread_mutex_t lock;
    pthread_cond_t left; /* a connection left `live`; monotonic clock */
    struct block *block;
    struct nbd_limits limits; /* a test changes them before they come into play */
    struct nbd_budget budget; /* memory beyond every connection's own */
    int wake_fd;              /* an eventfd: look at `is_stopping`, `finished` and `listeners` */
    atomic_bool is_stopping;
    atomic_bool requires_tls; /* on every address; changes with `tls` */
    bool refusing;            /* nbd-accept's: it has told that it refuses connections */
    unsigned spinning_max;    /* constant */
    atomic_uint spinning;     /* connections that watch their socket rather than sleep */
    struct nbd_pool pool;

    /* Guarded by lock. */
    struct tls_credentials *tls; /* for the next handshake; NULL: it is not offered */
    bool accepting;              /* `acceptor` runs */
    bool has_stopped;            /* there are no connections any more */
    pthread_t acceptor;
    size_t listener_count; /* only grows, until nbd-accept is gone */
    struct listener listeners[NBD_LISTENERS_MAX];
    struct nbd_connection *live, *finished;
    unsigned live_count, handshake_count[NBD_KINDS];
};

/* See server.c. */
enum nbd_connection_state { NBD_GREETING, NBD_SERVING, NBD_EVICTED, NBD_FINISHED };

/* See transmission.c. */
enum nbd_transmission_state { NBD_EXECUTING, NBD_REPLYING, NBD_RECEIVING, NBD_ENDING };

struct nbd_connection {
    struct nbd_server *server;
    struct nbd_connection *next;     /* guarded by server->lock */
    enum nbd_connection_state state; /* guarded by server->lock */
    struct nbd_peer peer;            /* constant */
    bool tls_required;               /* nothing but STARTTLS before TLS */
    pthread_t thread;
    struct nbd_channel channel; /* its fd: set before the thread starts */
    struct nbd_stop stop;       /* set by any thread */
    struct nbd_session session;
    struct export_client client; /* who it is; known to the device it has */
    struct nbd_queue queue;      /* its requests in the pool */
    /* The thread's own. */
    struct nbd_buffer in, out;
    enum nbd_transmission_state transmission;
    bool spins;           /* the last request came so soon that sleeping would have cost more */
    unsigned lone_streak; /* how many requests in a row came with nothing else under way */
};

#endif
