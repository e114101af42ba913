/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP server: accepts connections, limits them, stops. One thread accepts, and does no I/O
 * with clients, so that none can block it; pipeline.c serves each connection on a thread of its
 * own.
 *
 * Why no library: libmicrohttpd 0.9.75 (Debian 12) served 35 of the requests in
 * tests/api/framing-that-is-wrong-is-refused-and-closed.py and then took their rest for a second
 * request; its own refusals cannot be problems (RFC 9457). A filter in front of it would have to
 * know where each head, body and chunk ends, which is most of a server.
 *
 * Limits:
 *   L1  Each kind of principal, and each principal, has connections of its own (server.h). Beyond
 *       them a new connection replaces an idle one, so that idle and slow clients exclude nobody.
 *   L2  Every phase of a connection but the handler has a deadline (connection.h).
 *   L3  Without descriptors an idle connection is cut off, and up to HTTP_RESERVE_FDS new ones are
 *       served with descriptors kept back for that. After these, accepting pauses until a
 *       connection ends or PAUSE_MS have passed; it never spins.
 *   L4  Memory for requests and replies: memory.h. Concurrent calls: admission.h.
 * L1, L2 and L4 have no assert here: L2 has one in connection.c (C3), the others are refusals.
 *
 * Invariants:
 *   S1  live_count is the length of `live`, and at most LIVE_MAX but for one connection of each
 *       listener.
 *   S2  A descriptor of a connection goes back to the reserve, or is closed, with the lock held, so
 *       that no other thread takes it in between. (No assert: the kernel has that state.)
 *   S3  Only the thread that stops the server frees it, after the acceptor and all connections have
 *       ended.
 */
#include "service/http/server.h"

#include "base/cleanup.h"
#include "base/condition.h"
#include "base/log.h"
#include "base/monotonic.h"
#include "service/context.h"
#include "service/http/connection.h"
#include "service/http/pipeline.h"
#include "service/http/reply.h"
#include "service/http/subscribers.h"
#include "service/names.h"
#include "service/options.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define THREAD_STACK_BYTES (1024 * 1024)
#define LISTENERS_MAX      OPTIONS_ADDRESSES_MAX
#define PAUSE_MS           100

/* Descriptors kept back for connections that arrive when no other one is left. */
#define HTTP_RESERVE_FDS 8

/* Includes connections that were cut off but whose threads still run. */
#define LIVE_MAX (HTTP_UNIX_MAX + HTTP_UNIX_FORBIDDEN_MAX + HTTP_TCP_MAX + 64)

static const size_t kind_max[PRINCIPAL_KIND_COUNT] = {
    [PRINCIPAL_UNIX] = HTTP_UNIX_MAX,
    [PRINCIPAL_UNIX_FORBIDDEN] = HTTP_UNIX_FORBIDDEN_MAX,
    [PRINCIPAL_TCP] = HTTP_TCP_MAX,
};
static const size_t peer_max[PRINCIPAL_KIND_COUNT] = {
    [PRINCIPAL_UNIX] = HTTP_UNIX_PEER_MAX,
    [PRINCIPAL_UNIX_FORBIDDEN] = HTTP_UNIX_FORBIDDEN_MAX,
    [PRINCIPAL_TCP] = HTTP_TCP_PEER_MAX,
};

struct http_listener {
    struct http_listener *next;
    struct listener socket;
    bool has_tls;
};

struct http {
    struct http_shared shared; /* its lock guards the fields below marked so */
    pthread_t acceptor;
    int wake_fd; /* eventfd: a connection has ended, a listener was added, or the server stops */
    int null_fd;

    pthread_cond_t ended;
    struct http_listener *listeners;         /* lock */
    struct http_connection *live, *finished; /* lock: finished ones are to be joined */
    size_t live_count;                       /* lock */
    size_t reserve_count;                    /* lock */
    int reserve[HTTP_RESERVE_FDS];           /* lock */
};

static void http_wake(struct http *http)
{
    uint64_t one = 1;
    ssize_t written = write(http->wake_fd, &one, sizeof(one));
    (void)written; /* a full counter wakes it, too */
}

static void http_assert_locked(const struct http *http)
{
    (void)http;
    assert((http->live_count == 0) == !http->live);       /* S1 */
    assert(http->live_count <= LIVE_MAX + LISTENERS_MAX); /* S1 */
    assert(http->reserve_count <= HTTP_RESERVE_FDS);      /* L3 */
}

/* ---- making room ---- */

/* Cuts off the connection that it harms least: of all, of one kind, or of one principal. */
static bool http_make_room_locked(struct http *http, const enum principal_kind *kind,
                                  const struct principal *peer)
{
    struct http_connection *best = NULL;
    uint64_t now_ms = clock_monotonic_ms(), least = UINT64_MAX;
    for (struct http_connection *each = http->live; each; each = each->next) {
        uint64_t harm = http_connection_harm_locked(each, now_ms);
        if (harm < least && (!kind || each->principal.kind == *kind) &&
            (!peer || principal_is(&each->principal, peer))) {
            best = each;
            least = harm;
        }
    }
    if (best)
        http_connection_cut_locked(best);
    return best != NULL;
}

/* Whether `peer` may have one more connection; cuts off an idle one where that helps. */
static bool http_admit_locked(struct http *http, const struct principal *peer)
{
    size_t of_kind = 0, of_peer = 0;
    for (const struct http_connection *each = http->live; each; each = each->next) {
        of_kind += !each->is_cut && each->principal.kind == peer->kind;
        of_peer += !each->is_cut && principal_is(&each->principal, peer);
    }
    if (of_peer >= peer_max[peer->kind])
        return http_make_room_locked(http, NULL, peer);
    if (of_kind >= kind_max[peer->kind])
        return http_make_room_locked(http, &peer->kind, NULL);
    return true;
}

/* ---- connections ---- */

/* Closes the connection's descriptor, or returns it to the reserve. S2. */
static void connection_close_locked(struct http_connection *connection)
{
    struct http *http = connection->http;
    int fd = connection->stream.fd;
    if (fd < 0)
        return; /* it has another owner */
    if (http->reserve_count < HTTP_RESERVE_FDS && dup3(http->null_fd, fd, O_CLOEXEC) == fd)
        http->reserve[http->reserve_count++] = fd;
    else
        close(fd);
}

static void *connection_run(void *arg)
{
    struct http_connection *connection = arg;
    struct http *http = connection->http;
    http_pipeline_serve(connection);
    http_stream_end(&connection->stream);

    LOCK_GUARD(&http->shared.lock);
    struct http_connection **link = &http->live;
    while (*link != connection)
        link = &(*link)->next;
    *link = connection->next;
    http->live_count--;
    http_assert_locked(http);
    connection_close_locked(connection);
    connection->next = http->finished;
    http->finished = connection;
    pthread_cond_broadcast(&http->ended);
    http_wake(http);
    return NULL;
}

static bool connection_start_thread(struct http_connection *connection)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    int ret = pthread_create(&connection->thread, &attributes, connection_run, connection);
    pthread_attr_destroy(&attributes);
    if (ret == 0)
        pthread_setname_np(connection->thread, "http-conn");
    return ret == 0;
}

/* Starts the connection's thread, which then owns `fd`. False: there are no resources for it. */
static bool connection_start_locked(struct http *http, const struct http_listener *listener,
                                    const struct principal *peer, int fd, bool is_reserve)
{
    struct http_connection *connection = calloc(1, sizeof(*connection));
    if (!connection)
        return false;
    *connection = (struct http_connection){.shared = &http->shared,
                                           .http = http,
                                           .principal = *peer,
                                           .terms_number = atomic_load(&http->shared.terms_number),
                                           .is_reserve = is_reserve,
                                           .since_ms = clock_monotonic_ms(),
                                           .has_tls = listener->has_tls,
                                           .stream.fd = fd};
    if (!connection_start_thread(connection)) {
        free(connection);
        return false;
    }
    connection->next = http->live;
    http->live = connection;
    http->live_count++;
    http_assert_locked(http);
    return true;
}

static void http_join_finished(struct http *http)
{
    pthread_mutex_lock(&http->shared.lock);
    struct http_connection *finished = steal(http->finished);
    pthread_mutex_unlock(&http->shared.lock);
    while (finished) {
        struct http_connection *next = finished->next;
        pthread_join(finished->thread, NULL);
        free(finished);
        finished = next;
    }
}

/* ---- accepting ---- */

/* Answers a connection for which there is no room, without receiving its request. */
static void http_refuse(int fd)
{
    struct err err;
    char id[STORE_ID_CHARS + 1], head[REPLY_HEAD_BYTES];
    id_new(id);
    CLEANUP_BY(reply_clear) struct reply reply = {.request_id = id, .instance = "/"};
    err_set(&err, ErrOutOfResources, 0, "there are too many connections; try again");
    reply_error(&reply, &err);
    reply_finish(&reply);
    struct iovec pieces[] = {
        {head, reply_head_format(&reply, true, head, sizeof(head))},
        {(char *)(reply.body ? reply.body : reply.static_body), reply.body_bytes}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)sent; /* a courtesy, which may fail */
}

/* Serves the new connection `fd`, or refuses it. */
static void http_take(struct http *http, const struct http_listener *listener, int fd,
                      bool is_reserve)
{
    CLEANUP_CLOSE int owned = fd;
    struct principal peer;
    if (!listener->socket.is_unix)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    pthread_mutex_lock(&http->shared.lock);
    principal_init(&peer, fd, listener->socket.is_unix, &http->shared.groups);
    bool is_taken = http_admit_locked(http, &peer) &&
                    connection_start_locked(http, listener, &peer, fd, is_reserve);
    pthread_mutex_unlock(&http->shared.lock);
    if (is_taken)
        steal_fd(&owned);
    else if (!listener->has_tls)
        http_refuse(fd);
}

static int listener_accept(const struct http_listener *listener)
{
    return accept4(listener->socket.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

/* Accepts a connection although descriptors or memory are short. False: accepting must pause. */
static bool http_accept_from_reserve(struct http *http, const struct http_listener *listener)
{
    pthread_mutex_lock(&http->shared.lock);
    http_make_room_locked(http, NULL, NULL);
    bool is_spared = http->reserve_count > 0;
    if (is_spared)
        close(http->reserve[--http->reserve_count]);
    pthread_mutex_unlock(&http->shared.lock);
    int fd = is_spared ? listener_accept(listener) : -1;
    if (fd < 0)
        return is_spared && (errno == EAGAIN || errno == ECONNABORTED);
    http_take(http, listener, fd, true);
    return true;
}

/* Accepts one connection. False: accepting must pause. */
static bool http_accept(struct http *http, const struct http_listener *listener, bool *is_short)
{
    int fd = listener_accept(listener);
    if (fd >= 0) {
        *is_short = false;
        http_take(http, listener, fd, false);
        return true;
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED || errno == EPROTO)
        return true;
    if (!*is_short)
        log_warning("'%s': a connection cannot be accepted: %s", listener->socket.address,
                    strerror(errno));
    *is_short = true;
    return http_accept_from_reserve(http, listener);
}

/* Lists the descriptors to poll, wake_fd first; no listener while accepting pauses. */
static nfds_t http_poll_fill(struct http *http, bool *is_paused, struct pollfd *fds,
                             struct http_listener **listeners)
{
    nfds_t count = 1;
    fds[0] = (struct pollfd){.fd = http->wake_fd, .events = POLLIN};
    LOCK_GUARD(&http->shared.lock);
    *is_paused |= http->live_count >= LIVE_MAX;
    for (struct http_listener *each = http->listeners; each && !*is_paused; each = each->next) {
        listeners[count] = each;
        fds[count++] = (struct pollfd){.fd = each->socket.fd, .events = POLLIN};
    }
    return count;
}

static void *acceptor_run(void *arg)
{
    struct http *http = arg;
    struct http_listener *listeners[LISTENERS_MAX + 1];
    struct pollfd fds[LISTENERS_MAX + 1];
    bool is_paused = false, is_short = false;
    while (!atomic_load(&http->shared.is_stopping)) {
        uint64_t wakes;
        nfds_t count = http_poll_fill(http, &is_paused, fds, listeners);
        if (poll(fds, count, is_paused ? PAUSE_MS : -1) < 0)
            continue;
        is_paused = false;
        if (fds[0].revents && read(http->wake_fd, &wakes, sizeof(wakes)) > 0)
            http_join_finished(http);
        for (nfds_t i = 1; i < count; i++)
            if (fds[i].revents && !http_accept(http, listeners[i], &is_short))
                is_paused = true;
    }
    return NULL;
}

/* ---- life ---- */

/* Opens the server's descriptors, starts the acceptor. */
static bool http_open(struct http *http)
{
    http->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    http->null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (int fd; http->reserve_count < HTTP_RESERVE_FDS;) {
        if ((fd = fcntl(http->null_fd, F_DUPFD_CLOEXEC, 0)) < 0)
            return false;
        http->reserve[http->reserve_count++] = fd;
    }
    return http->wake_fd >= 0 && pthread_create(&http->acceptor, NULL, acceptor_run, http) == 0;
}

static void http_close(struct http *http)
{
    while (http->reserve_count > 0)
        close(http->reserve[--http->reserve_count]);
    if (http->null_fd >= 0)
        close(http->null_fd);
    if (http->wake_fd >= 0)
        close(http->wake_fd);
    pthread_cond_destroy(&http->ended);
    pthread_mutex_destroy(&http->shared.failures.lock);
    http_certificates_close(&http->shared.certificates);
    pthread_mutex_destroy(&http->shared.lock);
    free(http);
}

struct http *http_new(struct service *service, struct err *err)
{
    struct http *http = calloc(1, sizeof(*http));
    if (http) {
        http->shared.service = service;
        pthread_mutex_init(&http->shared.lock, NULL);
        pthread_mutex_init(&http->shared.failures.lock, NULL);
        http_certificates_open(&http->shared.certificates);
        pthread_cond_init(&http->ended, NULL);
    }
    if (http && (http->shared.subscribers = subscribers_new(service, err)) && http_open(http))
        return http;
    if (http && http->shared.subscribers) {
        subscribers_stop(http->shared.subscribers);
        subscribers_free(http->shared.subscribers);
    }
    err_set(err, ErrOutOfResources, errno, "the HTTP server cannot be started");
    if (http)
        http_close(http);
    return NULL;
}

/* ---- terms ---- */

/* Gives the socket the permissions that the groups need to connect. */
static int http_admit_groups(const struct option_groups *groups, const struct listener *opened,
                             struct err *err)
{
    if (groups->count == 0)
        return 0;
    return listener_admit(opened, groups->count == 1 ? groups->list[0].gid : (gid_t)-1, err);
}

int http_set_terms(struct http *http, const struct http_terms *terms, struct err *err)
{
    assert(!http->listeners);
    http->shared.groups = *terms->groups;
    http->shared.client_scopes = *terms->scopes;
    if (!terms->cert_dir)
        return 0;
    if (http_certificates_prepare(&http->shared.certificates, terms->cert_dir, err) != 0)
        return -1;
    http_certificates_replace(&http->shared.certificates);
    return 0;
}

int http_prepare_terms(struct http *http, const struct http_terms *terms, struct err *err)
{
    struct http_certificates *certificates = &http->shared.certificates;
    for (struct http_listener *each = http->listeners; each; each = each->next)
        if (listener_check(&each->socket, err) != 0)
            return -1;
    if (!terms->cert_dir || !http_certificates_are_there(certificates))
        return 0;
    return http_certificates_prepare(certificates, terms->cert_dir, err);
}

void http_cancel_terms(struct http *http)
{
    http_certificates_cancel(&http->shared.certificates);
}

/* After http_prepare_terms() this fails only if somebody changes the socket meanwhile. */
static void http_apply_groups(const struct http *http, const struct option_groups *groups)
{
    struct err err;
    for (struct http_listener *each = http->listeners; each; each = each->next)
        if ((groups->count == 0 ? listener_restrict(&each->socket, &err)
                                : http_admit_groups(groups, &each->socket, &err)) != 0)
            log_error("%s", err.message);
}

void http_apply_terms(struct http *http, const struct http_terms *terms)
{
    struct http_shared *shared = &http->shared;
    pthread_mutex_lock(&shared->lock);
    bool has_other_groups = !option_value_equals(OPTION_GROUP, &shared->groups, terms->groups);
    shared->groups = *terms->groups;
    shared->client_scopes = *terms->scopes;
    atomic_fetch_add(&shared->terms_number, 1);
    pthread_mutex_unlock(&shared->lock);
    if (has_other_groups)
        http_apply_groups(http, terms->groups);
    http_certificates_replace(&shared->certificates);
}

int http_listen(struct http *http, const struct listener *opened, bool has_tls, struct err *err)
{
    struct http_listener *listener = calloc(1, sizeof(*listener));
    if (!listener || http_admit_groups(&http->shared.groups, opened, err) != 0) {
        struct listener failed = *opened;
        listener_close(&failed);
        if (!listener)
            err_set(err, ErrOutOfResources, 0, "cannot start serving '%s'", failed.address);
        free(listener);
        return -1;
    }
    assert(!has_tls || http_certificates_are_there(&http->shared.certificates));
    listener->socket = *opened;
    listener->has_tls = has_tls;
    pthread_mutex_lock(&http->shared.lock);
    listener->next = http->listeners;
    http->listeners = listener;
    pthread_mutex_unlock(&http->shared.lock);
    http_wake(http);
    return 0;
}

/* Ends reception: requests that have been received are served, others end. */
static void http_stop_locked(struct http *http)
{
    for (struct http_connection *each = http->live; each; each = each->next)
        if (each->phase != HTTP_RUNNING && each->phase != HTTP_SENDING)
            shutdown(each->stream.fd, SHUT_RD);
}

/* Waits for all connections to end; cuts off those that take longer than HTTP_STOP_S. */
static void http_drain_locked(struct http *http)
{
    while (http->live) {
        condition_wait(&http->ended, &http->shared.lock);
        uint64_t now_ms = clock_monotonic_ms();
        for (struct http_connection *each = http->live; each; each = each->next)
            if (each->phase != HTTP_RUNNING && each->since_ms + HTTP_STOP_S * 1000ULL <= now_ms)
                http_connection_cut_locked(each);
    }
}

void http_free(struct http *http)
{
    atomic_store(&http->shared.is_stopping, true);
    subscribers_stop(http->shared.subscribers);
    http_wake(http);
    pthread_join(http->acceptor, NULL);
    for (struct http_listener *listener = http->listeners; listener; listener = listener->next)
        listener_unlink(&listener->socket);
    pthread_mutex_lock(&http->shared.lock);
    http_stop_locked(http);
    http_drain_locked(http);
    pthread_mutex_unlock(&http->shared.lock);
    http_join_finished(http);
    assert(http->live_count == 0 && !http->live && !http->finished); /* S3 */
    subscribers_free(http->shared.subscribers);
    while (http->listeners) {
        struct http_listener *listener = http->listeners;
        http->listeners = listener->next;
        listener_close(&listener->socket);
        free(listener);
    }
    http_close(http);
}
