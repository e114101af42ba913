/* SPDX-License-Identifier: Apache-2.0
 *
 * The NBD server's objects. Private to block/nbd/; device/exports.h is what others use.
 *
 *   nbd_server --> listeners                 nbd/listener.c; one thread, "nbd-accept", for all, which
 *        |                                   asks nbd/admission.c who may come in
 *        |
 *        +-------> live: connection, ...     each with its own thread, "nbd-conn", which runs
 *        |                                   nbd/handshake.c, then nbd/transmission.c
 *        +-------> pool: threads, ...        nbd/pool.c; "nbd-pool", for requests that may wait
 *        +-------> finished: connection, ... their threads are over
 *
 * A connection's life: admitted by nbd-accept into `live`; its thread runs the two phases, gives
 * the device back, moves the connection to `finished` and closes the socket; nbd-accept, at the end
 * nbd_server_free, joins the thread and frees it. So whatever is in `live` has an open socket that
 * may be shut down under the lock, and a client that sees its connection closed finds the device
 * free.
 */
#ifndef BLOCK_NBD_SERVER_H
#define BLOCK_NBD_SERVER_H

#include "base/err.h"
#include "base/unix-socket.h"
#include "block/block.h"
#include "block/nbd/pool.h"
#include "block/nbd/socket.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct block;
struct device;
struct nbd_tls;

enum { NBD_LISTENERS_MAX = 16, NBD_ADDRESS_BYTES = 128 };

/* Connections still in the handshake are counted for each kind of listener. */
enum nbd_kind { NBD_UNIX, NBD_LOOPBACK, NBD_REMOTE, NBD_KINDS };

/* Who is at the other end: an address (IPv4 as IPv6 has it; of other IPv6 the network, 64 bits) or a
 * user. */
struct nbd_peer {
    enum nbd_kind kind;
    unsigned char id[16];
};

struct nbd_listener {
    int fd;
    char address[NBD_ADDRESS_BYTES]; /* as it was bound: "unix:PATH", "[::1]:10809" */
    char reach[NBD_ADDRESS_BYTES];   /* where to connect to: loopback if `address` is a wildcard */
    bool is_wildcard;
    bool is_unix;
    bool is_remote;            /* TCP beyond loopback: its connections take TLS only */
    struct unix_socket socket; /* if is_unix */
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
    struct nbd_limits limits;   /* a test changes them before they come into play */
    struct nbd_budget budget;   /* memory beyond every connection's own */
    enum nbd_tls_mode tls_mode; /* this and `tls`: set before the first listener, then constant */
    struct nbd_tls *tls;        /* or NULL: there is no TLS */
    int wake_fd;                /* an eventfd: look at `stop`, `finished` and `listeners` */
    struct nbd_stop stop;
    bool refusing;         /* nbd-accept's: it has told that it refuses connections */
    unsigned spinning_max; /* constant */
    atomic_uint spinning;  /* connections that watch their socket rather than sleep */
    struct nbd_pool pool;

    /* Guarded by lock. */
    bool accepting; /* `acceptor` runs */
    pthread_t acceptor;
    size_t listener_count; /* only grows, until nbd-accept is gone */
    struct nbd_listener listeners[NBD_LISTENERS_MAX];
    struct nbd_connection *live, *finished;
    unsigned live_count, handshake_count[NBD_KINDS];
};

struct nbd_connection {
    struct nbd_server *server;
    struct nbd_connection *next; /* guarded by server->lock */
    bool is_greeting;            /* guarded by server->lock: counted in server->handshake_count */
    struct nbd_peer peer;        /* constant */
    bool tls_required;           /* nothing but STARTTLS before TLS */
    pthread_t thread;
    struct nbd_channel channel; /* its fd: set before the thread starts */
    struct nbd_session session;
    struct nbd_queue queue; /* its requests in the pool */
    /* The thread's own. */
    struct nbd_buffer in, out;
    bool spins;           /* the last request came so soon that sleeping would have cost more */
    unsigned lone_streak; /* how many requests in a row came with nothing else under way */
};

/* Parses, binds and listens; with `remote`, beyond loopback too. On failure nothing is left. Codes:
 * InvalidValue, OpenFileFailed. */
int nbd_listener_open(struct nbd_listener *listener, const char *address, bool remote,
                      struct err *err);
void nbd_listener_close(struct nbd_listener *listener);

/* Whether the peer may speak to us; prepares its socket and says who it is. */
bool nbd_peer_admit(const struct nbd_listener *listener, int fd, struct nbd_peer *peer);

/* Whether at least `spare` descriptors are free beside `fd`, the newest one. */
bool nbd_files_are_spared(int fd, unsigned spare);

/* Takes a place for a connection of that peer, of which the caller sets up `live`: 0, or -EUSERS if
 * those that it may have are taken. If there are too many handshakes, the oldest ends. */
int nbd_admit_locked(struct nbd_server *server, const struct nbd_peer *peer);

/* It is done with the handshake, or with everything. */
void nbd_greeted_locked(struct nbd_connection *connection);

/* Starts a thread that leaves signals to others. 0 or -errno. */
int nbd_thread_new(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

/* Negotiates. 0: connection->device is in use, transmission follows; -errno: hang up. */
int nbd_handshake(struct nbd_connection *connection);

/* Serves requests until either side ends it. */
void nbd_transmission(struct nbd_connection *connection);

/* nbd/pieces.c: one large request, executed and answered here, in pieces that fit the connection's
 * own memory. Nonzero if the connection is to end. */

/* A checked READ; `out` is empty. */
int nbd_read_in_pieces(struct nbd_connection *connection, const struct nbd_request *request);

/* A request of which a part has arrived and the header is at the head of `in`. */
int nbd_write_in_pieces(struct nbd_connection *connection, const struct nbd_request *request);

#endif
