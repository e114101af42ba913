/* SPDX-License-Identifier: Apache-2.0
 *
 * The NBD server: accepting, and the life of connections. See connection.h for the
 * objects and their threads.
 *
 * Trust: a Unix socket's peer must be root or the daemon's own user; TCP beyond loopback takes TLS
 * in which every client proves who it is, whatever the server's mode is. What a peer can take is
 * bounded: time in the handshake (with that of TLS), connections, memory per connection
 * (nbd/socket.h, limits.task_bytes) and over all connections (nbd/budget.h), threads (nbd/pool.h).
 * No kind of listener, no peer and no unfinished handshakes can take every connection, nor every
 * descriptor (nbd/admission.c). No peer can hold up another one, nor the accepting thread, which
 * does no I/O with peers.
 *
 * Stopping: no more connections; every connection executes and answers the complete requests that
 * have arrived by then (nbd/transmission.c), and hangs up. One whose client does not read its
 * replies is cut off after limits.stop_ms.
 *
 *     GREETING --nbd_handshake--> SERVING --nbd_transmission--> FINISHED --joined--> (freed)
 *         |                                                        ^
 *         +--a newer handshake needs its place--> EVICTED ---------+
 *
 *   S1  live_count is 0 exactly when `live` is empty.
 *   S2  The handshakes counted are those of the connections in GREETING, at most live_count.
 *   S3  A server that is freed has no connection, live or finished.
 *   S4  A connection is in `live` until it is FINISHED, then in `finished`.
 */
#include "block/nbd/server.h"

#include "base/cleanup.h"
#include "base/condition.h"
#include "base/log.h"
#include "base/tls/credentials.h"
#include "block/device/exports.h"
#include "block/nbd/admission.h"
#include "block/nbd/connection.h"
#include "block/nbd/handshake.h"
#include "block/nbd/thread.h"
#include "block/nbd/transmission.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ACCEPT_PAUSE_MS = 100, /* before trying again when descriptors or memory ran out */
};

static const struct nbd_limits limits_default = {
    .handshake_ms = NBD_HANDSHAKE_MAX_MS,
    .handshake_max_ms = NBD_HANDSHAKE_ALL_MAX_MS,
    .stop_ms = 5000,
    .linger_ms = 1000,
    .connections = NBD_CONNECTIONS_MAX,
    .tcp_connections = NBD_TCP_CONNECTIONS_MAX,
    .tcp_peer = NBD_TCP_PEER_MAX,
    .unix_peer = NBD_UNIX_PEER_MAX,
    .handshakes = NBD_HANDSHAKES_MAX,
    .spare_files = 256,
    .options = NBD_USELESS_OPTIONS_MAX,
    .tasks = NBD_TASKS_MAX,
    .task_bytes = NBD_TASK_BYTES_MAX,
};

static const char local_only[] = "NBD serves others only with TLS in which every client has a "
                                 "certificate that is verified or a pre-shared key";

static void server_wake(struct nbd_server *server)
{
    eventfd_write(server->wake_fd, 1);
}

static void server_assert_state_locked(const struct nbd_server *server)
{
    assert(!server->live == (server->live_count == 0)); /* S1 */
    assert(server->handshake_count[NBD_UNIX] + server->handshake_count[NBD_LOOPBACK] +
               server->handshake_count[NBD_REMOTE] <=
           server->live_count); /* S2 */
    (void)server;
}

/* ---- connections ---- */

static void connection_free(struct nbd_connection *connection)
{
    nbd_buffer_close(&connection->in);
    nbd_buffer_close(&connection->out);
    nbd_queue_close(&connection->queue);
    free(connection);
}
CLEANUP_DEFINE(connection, struct nbd_connection *, connection_free)

/* It executes and answers what has arrived by now. */
static void connection_stop(struct nbd_connection *connection)
{
    atomic_store(&connection->stop.begun, true);
    shutdown(connection->channel.socket.fd, SHUT_RD);
}

/* Its socket is open as long as the device knows the client. */
static void connection_hang_up(struct export_client *client)
{
    connection_stop(
        (struct nbd_connection *)((char *)client - offsetof(struct nbd_connection, client)));
}

static struct nbd_connection *connection_new(struct nbd_server *server,
                                             const struct listener *listener,
                                             const struct nbd_peer *peer, int fd)
{
    CLEANUP(connection) struct nbd_connection *connection = calloc(1, sizeof(*connection));
    if (connection)
        nbd_queue_open(&connection->queue, &server->budget);
    if (!connection || nbd_buffer_open(&connection->in, &server->budget) != 0 ||
        nbd_buffer_open(&connection->out, &server->budget) != 0)
        return NULL;
    connection->server = server;
    connection->session.stop = &connection->stop;
    connection->client.hang_up = connection_hang_up;
    connection->channel.socket.fd = fd;
    connection->tls_required = atomic_load(&server->requires_tls) || listener->is_remote;
    connection->peer = *peer;
    return steal(connection);
}

static void connection_finish(struct nbd_connection *connection)
{
    struct nbd_server *server = connection->server;
    if (connection->session.device) {
        export_leave(server->block, connection->session.device, &connection->client);
        export_unuse(server->block, connection->session.device);
    }
    if (connection->session.older)
        export_unuse(server->block, connection->session.older);
    nbd_channel_end(&connection->channel);

    pthread_mutex_lock(&server->lock);
    server_assert_state_locked(server);
    struct nbd_connection **slot = &server->live;
    while (*slot != connection)
        slot = &(*slot)->next;
    *slot = connection->next;
    server->live_count--;
    nbd_connection_enter_locked(connection, NBD_FINISHED);
    server_assert_state_locked(server);
    close(connection->channel.socket.fd);
    connection->next = server->finished;
    server->finished = connection;
    pthread_cond_signal(&server->left);
    server_wake(server);
    pthread_mutex_unlock(&server->lock);
    nbd_buffer_close(&connection->in); /* what it has of the budget is for others */
    nbd_buffer_close(&connection->out);
}

static void *connection_run(void *arg)
{
    struct nbd_connection *connection = arg;
    nbd_thread_serve_promptly();
    if (nbd_handshake(connection) == 0) {
        pthread_mutex_lock(&connection->server->lock);
        nbd_connection_enter_locked(connection, NBD_SERVING);
        pthread_mutex_unlock(&connection->server->lock);
        nbd_transmission(connection);
    }
    connection_finish(connection);
    return NULL;
}

static int connection_start_locked(struct nbd_server *server, const struct listener *listener,
                                   const struct nbd_peer *peer, int fd)
{
    CLEANUP(connection)
    struct nbd_connection *connection = connection_new(server, listener, peer, fd);
    if (!connection)
        return -ENOMEM;
    int ret = nbd_thread_new(&connection->thread, "nbd-conn", connection_run, connection);
    if (ret)
        return ret;
    connection->next = server->live;
    server->live = steal(connection);
    server->live_count++;
    return 0;
}

/* Takes over `fd` and starts its thread, if there is a place for it. */
static int connection_start(struct nbd_server *server, const struct listener *listener,
                            const struct nbd_peer *peer, int fd)
{
    CLEANUP_CLOSE int owned = fd;
    LOCK_GUARD(&server->lock);
    server_assert_state_locked(server);
    int ret = nbd_admit_locked(server, peer);
    if (ret)
        return ret;
    ret = connection_start_locked(server, listener, peer, fd);
    if (ret)
        server->handshake_count[peer->kind]--;
    else
        steal_fd(&owned);
    server_assert_state_locked(server);
    return ret;
}

static void server_join_finished(struct nbd_server *server)
{
    pthread_mutex_lock(&server->lock);
    struct nbd_connection *finished = steal(server->finished);
    pthread_mutex_unlock(&server->lock);
    while (finished) {
        struct nbd_connection *next = finished->next;
        pthread_join(finished->thread, NULL);
        connection_free(finished);
        finished = next;
    }
}

/* ---- accepting ---- */

/* Tells once per shortage, not once per connection. */
static void server_tell_refusal(struct nbd_server *server, int error)
{
    if (!server->refusing)
        log_warning("NBD connections are refused: %s", strerror(error));
    server->refusing = true;
}

/* Accepts one connection. 0, or -1 if there is nothing to gain from trying again at once. */
static int server_accept(struct nbd_server *server, const struct listener *listener)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)
            return 0; /* this connection's error, not ours */
        server_tell_refusal(server, errno);
        return -1;
    }
    struct nbd_peer peer;
    bool is_spared = nbd_files_are_spared(fd, server->limits.spare_files);
    if (!is_spared)
        server_tell_refusal(server, EMFILE);
    if (!is_spared || !nbd_peer_admit(listener, fd, &peer)) {
        close(fd);
        return 0;
    }
    int ret = connection_start(server, listener, &peer, fd);
    if (ret)
        server_tell_refusal(server, -ret);
    else
        server->refusing = false;
    return 0;
}

static size_t server_watch(struct nbd_server *server, struct pollfd *watched)
{
    LOCK_GUARD(&server->lock);
    watched[0] = (struct pollfd){.fd = server->wake_fd, .events = POLLIN};
    for (size_t i = 0; i < server->listener_count; i++)
        watched[1 + i] = (struct pollfd){.fd = server->listeners[i].fd, .events = POLLIN};
    return 1 + server->listener_count;
}

static void *server_accept_loop(void *arg)
{
    struct nbd_server *server = arg;
    struct pollfd watched[1 + NBD_LISTENERS_MAX];
    while (!atomic_load(&server->is_stopping)) {
        eventfd_t ignored;
        bool pause = false;
        size_t count = server_watch(server, watched);
        if (poll(watched, count, -1) < 0)
            continue;
        if (watched[0].revents)
            eventfd_read(server->wake_fd, &ignored);
        server_join_finished(server);
        for (size_t i = 1; i < count; i++)
            if (watched[i].revents && server_accept(server, &server->listeners[i - 1]) != 0)
                pause = true;
        if (pause)
            poll(watched, 1, ACCEPT_PAUSE_MS);
    }
    return NULL;
}

/* ---- the server ---- */

struct nbd_server *nbd_server_new(struct block *block)
{
    struct nbd_server *server = calloc(1, sizeof(*server));
    if (!server)
        return NULL;
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->wake_fd < 0) {
        free(server);
        return NULL;
    }
    server->block = block;
    server->limits = limits_default;
    server->budget.limit_bytes = NBD_MEMORY_BYTES_MAX;
    server->spinning_max = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) / 2;
    nbd_pool_open(&server->pool);
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->left, NULL);
    return server;
}

static struct tls_credentials *credentials_new(const struct nbd_tls_spec *spec, struct err *err)
{
    return tls_credentials_new(
        &(struct tls_spec){.cert_dir = spec->cert_dir,
                           .psk_file = spec->psk_file,
                           .clients = spec->verify_peer ? TLS_CLIENTS_PROVE : TLS_CLIENTS_ANY},
        err);
}

int nbd_server_check(const struct nbd_tls_spec *spec, const char *const *addresses, size_t count,
                     struct err *err)
{
    bool may_be_remote = false;
    if (spec->mode != NBD_TLS_OFF) {
        struct tls_credentials *credentials = credentials_new(spec, err);
        if (!credentials)
            return -1;
        may_be_remote = tls_credentials_authenticate(credentials);
        tls_credentials_unref(credentials);
    }
    struct listen_address parsed;
    for (size_t i = 0; i < count; i++)
        if (listener_parse(&parsed, addresses[i], may_be_remote ? NULL : local_only, err) != 0)
            return -1;
    return 0;
}

static bool server_is_remote_locked(const struct nbd_server *server)
{
    bool is_remote = false;
    for (size_t i = 0; i < server->listener_count; i++)
        is_remote |= server->listeners[i].is_remote;
    return is_remote;
}

int nbd_server_set_tls(struct nbd_server *server, const struct nbd_tls_spec *spec, struct err *err)
{
    struct tls_credentials *spare = NULL;
    if (spec->mode != NBD_TLS_OFF && !(spare = credentials_new(spec, err)))
        return -1;
    pthread_mutex_lock(&server->lock);
    bool is_enough =
        !server_is_remote_locked(server) || (spare && tls_credentials_authenticate(spare));
    if (is_enough) {
        struct tls_credentials *old = server->tls;
        server->tls = spare;
        spare = old;
        atomic_store(&server->requires_tls, spec->mode == NBD_TLS_REQUIRED);
    }
    pthread_mutex_unlock(&server->lock);
    if (spare)
        tls_credentials_unref(spare);
    if (is_enough)
        return 0;
    return err_set(err, ErrInvalidValue, 0,
                   "an NBD address beyond loopback is served, so every NBD client must go on "
                   "proving who it is");
}

int nbd_server_listen(struct nbd_server *server, const char *address, struct err *err)
{
    LOCK_GUARD(&server->lock);
    if (server->listener_count == NBD_LISTENERS_MAX)
        return err_set(err, ErrInvalidValue, 0, "NBD is served on at most %d addresses",
                       NBD_LISTENERS_MAX);
    struct listener *listener = &server->listeners[server->listener_count];
    bool remote = server->tls && tls_credentials_authenticate(server->tls);
    if (listener_open(listener, address, remote ? NULL : local_only, err) != 0)
        return -1;
    if (!server->accepting) {
        int ret = nbd_thread_new(&server->acceptor, "nbd-accept", server_accept_loop, server);
        if (ret) {
            listener_close(listener);
            return err_set(err, ErrOpenFileFailed, -ret, "NBD address '%s' cannot be served",
                           address);
        }
        server->accepting = true;
    }
    server->listener_count++;
    server_wake(server);
    return 0;
}

const char *nbd_server_address(const struct nbd_server *server, size_t index)
{
    return index < server->listener_count ? server->listeners[index].address : NULL;
}

/* The listener to send clients to: a Unix socket if there is one, else an address that is one
 * host's, else any; of equals the first. NULL if there is none. */
static const struct listener *server_best_listener(const struct nbd_server *server)
{
    const struct listener *best = NULL;
    for (size_t i = 0; i < server->listener_count; i++) {
        const struct listener *one = &server->listeners[i];
        if (!best || one->is_unix > best->is_unix ||
            (one->is_unix == best->is_unix && one->is_wildcard < best->is_wildcard))
            best = one;
    }
    return best;
}

const char *nbd_server_reach(const struct nbd_server *server)
{
    const struct listener *best = server_best_listener(server);
    return best ? best->reach : NULL;
}

bool nbd_server_needs_tls(const struct nbd_server *server)
{
    const struct listener *best = server_best_listener(server);
    return atomic_load(&server->requires_tls) || (best && best->is_remote);
}

bool nbd_server_knows_clients(struct nbd_server *server)
{
    LOCK_GUARD(&server->lock);
    return server->tls && tls_credentials_know_clients(server->tls);
}

static void server_stop_accepting(struct nbd_server *server)
{
    atomic_store(&server->is_stopping, true);
    server_wake(server);
    if (server->accepting)
        pthread_join(server->acceptor, NULL);
    for (size_t i = 0; i < server->listener_count; i++)
        listener_close(&server->listeners[i]);
}

static void connection_cut_off(struct nbd_connection *connection)
{
    atomic_store(&connection->stop.cut_off, true);
    shutdown(connection->channel.socket.fd, SHUT_RDWR);
}

/* Waits until there are no connections, or that time; the lock is held. */
static void server_await_end(struct nbd_server *server, uint64_t deadline_ms)
{
    while (server->live && condition_wait_until(&server->left, &server->lock, deadline_ms * 1000))
        continue;
}

static bool server_stop_connections(struct nbd_server *server, unsigned hang_ms)
{
    LOCK_GUARD(&server->lock);
    for (struct nbd_connection *one = server->live; one; one = one->next)
        connection_stop(one);
    server_await_end(server, nbd_deadline(server->limits.stop_ms));
    if (server->live)
        log_warning("NBD stops: %u connections whose clients do not read their replies, or whose "
                    "requests wait for storage, are cut off",
                    server->live_count);
    for (struct nbd_connection *one = server->live; one; one = one->next)
        connection_cut_off(one);
    while (server->live && hang_ms == UINT_MAX)
        condition_wait(&server->left, &server->lock);
    if (server->live)
        server_await_end(server, nbd_deadline(hang_ms));
    return !server->live;
}

bool nbd_server_stop(struct nbd_server *server, unsigned hang_ms)
{
    assert(!server->has_stopped);
    server_stop_accepting(server);
    bool has_stopped = server_stop_connections(server, hang_ms);
    server_join_finished(server);
    server->has_stopped = has_stopped;
    return has_stopped;
}

void nbd_server_free(struct nbd_server *server)
{
    if (!server->has_stopped)
        nbd_server_stop(server, UINT_MAX);
    server_join_finished(server);
    assert(!server->live && !server->finished); /* S3 */
    nbd_pool_close(&server->pool);
    close(server->wake_fd);
    if (server->tls)
        tls_credentials_unref(server->tls);
    pthread_cond_destroy(&server->left);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

unsigned nbd_server_connections(struct nbd_server *server)
{
    LOCK_GUARD(&server->lock);
    return server->live_count;
}

void nbd_server_memory(struct nbd_server *server, uint64_t *used_bytes, uint64_t *limit_bytes)
{
    *used_bytes = atomic_load_explicit(&server->budget.taken_bytes, memory_order_relaxed);
    *limit_bytes = atomic_load_explicit(&server->budget.limit_bytes, memory_order_relaxed);
}
