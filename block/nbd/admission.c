/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may connect to the NBD server, and how many of them. On the thread "nbd-accept", but for
 * nbd_connection_enter_locked().
 *
 *   connections                 all; what TCP may not have is there for Unix sockets
 *   tcp_connections             over TCP; one address may have tcp_peer of them
 *   unix_peer                   of the daemon's own user, unless that is root, which has the rest
 *   handshakes                  not done with the handshake, for Unix sockets, loopback and other
 *                               machines each. A new one ends the oldest: who is quick gets
 *                               through, however many there are that are not
 *   spare_files                 descriptors that no connection takes: calls and overlays need them
 */
#include "block/nbd/admission.h"

#include "base/log.h"
#include "block/nbd/tls-session.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SEND_SOCKET_BYTES = 2 << 20,
    /* A TCP peer is given up after 30 + 6 * 10 s. */
    KEEPALIVE_IDLE_S = 30,
    KEEPALIVE_INTERVAL_S = 10,
    KEEPALIVE_PROBES = 6,
    NETWORK_BYTES = 8, /* of an IPv6 address: what is in one hand */
};

/* ---- who it is ---- */

/* Has the system end the connection of a peer that is gone without a word, for which the device
 * would be in use for ever: soon if nothing is on its way to it, else once the system has given up
 * sending. A client that is only stopped stays. */
static bool tcp_keep_alive(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
    };
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
        if (setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int)) != 0)
            return false;
    return true;
}

static bool peer_admit_tcp(const struct listener *listener, int fd, struct nbd_peer *peer)
{
    struct sockaddr_in6 from = {.sin6_family = AF_UNSPEC};
    socklen_t length = sizeof(from);
    if (getpeername(fd, (struct sockaddr *)&from, &length) != 0)
        return false;
    peer->kind = listener->is_remote ? NBD_REMOTE : NBD_LOOPBACK;
    if (from.sin6_family == AF_INET6) {
        bool is_v4 = IN6_IS_ADDR_V4MAPPED(&from.sin6_addr);
        memcpy(peer->id, &from.sin6_addr, is_v4 ? sizeof(peer->id) : NETWORK_BYTES);
    } else {
        peer->id[10] = peer->id[11] = 0xff;
        memcpy(peer->id + 12, &((struct sockaddr_in *)(void *)&from)->sin_addr, 4);
    }
    /* No SO_SNDBUF here: it would end TCP's own, better tuning. */
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0 &&
           tcp_keep_alive(fd);
}

static bool peer_admit_unix(const struct listener *listener, int fd, struct nbd_peer *peer)
{
    struct ucred user = {.uid = (uid_t)-1};
    socklen_t length = sizeof(user);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &length) != 0)
        return false;
    if (user.uid != 0 && user.uid != geteuid()) {
        log_warning(
            "NBD connection of user %u refused: only root's and the daemon's own may use %s",
            (unsigned)user.uid, listener->address);
        return false;
    }
    memcpy(peer->id, &user.uid, sizeof(user.uid));
    /* With no privilege the system's limit applies, which is still worth having. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &(int){SEND_SOCKET_BYTES}, sizeof(int)) != 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_SOCKET_BYTES}, sizeof(int));
    return true;
}

bool nbd_peer_admit(const struct listener *listener, int fd, struct nbd_peer *peer)
{
    *peer = (struct nbd_peer){.kind = NBD_UNIX};
    return listener->is_unix ? peer_admit_unix(listener, fd, peer)
                             : peer_admit_tcp(listener, fd, peer);
}

void nbd_peer_describe(const struct nbd_connection *connection, struct err_client *client)
{
    int fd = connection->channel.socket.fd;
    union tcp_address from = {.any.sa_family = AF_UNSPEC};
    struct ucred user;
    socklen_t bytes = sizeof(from), user_bytes = sizeof(user);
    *client = (struct err_client){.pid = 0};
    if (connection->peer.kind == NBD_UNIX &&
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &user, &user_bytes) == 0) {
        client->pid = user.pid;
        client->uid = user.uid;
    } else if (connection->peer.kind != NBD_UNIX && getpeername(fd, &from.any, &bytes) == 0) {
        static_assert(sizeof(client->address) == LISTEN_ADDRESS_BYTES, "an address fits");
        tcp_address_format(&from, client->address);
    }
    if (connection->channel.tls)
        nbd_tls_session_name(connection->channel.tls, client->tls_name, sizeof(client->tls_name));
}

/* ---- descriptors ---- */

bool nbd_files_are_spared(int fd, unsigned spare)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return false;
    if (spare > limit.rlim_cur / 4)
        spare = (unsigned)(limit.rlim_cur / 4);
    unsigned count = 0;
    /* The system gave the lowest free one, so only those above can be free. */
    for (rlim_t other = (rlim_t)fd + 1; count < spare && other < limit.rlim_cur; other++)
        if (fcntl((int)other, F_GETFD) < 0)
            count++;
    return count >= spare;
}

/* ---- how many ---- */

static bool peer_is_root(const struct nbd_peer *peer)
{
    return peer->kind == NBD_UNIX && memcmp(peer->id, &(uid_t){0}, sizeof(uid_t)) == 0;
}

static bool peer_is_same(const struct nbd_peer *a, const struct nbd_peer *b)
{
    return (a->kind == NBD_UNIX) == (b->kind == NBD_UNIX) &&
           memcmp(a->id, b->id, sizeof(a->id)) == 0;
}

/* The one that began first; new ones come to the head of `live`. */
static void server_end_oldest_handshake_locked(struct nbd_server *server, enum nbd_kind kind)
{
    struct nbd_connection *oldest = NULL;
    for (struct nbd_connection *one = server->live; one; one = one->next)
        if (one->state == NBD_GREETING && one->peer.kind == kind)
            oldest = one;
    if (!oldest)
        return;
    nbd_connection_enter_locked(oldest, NBD_EVICTED);
    shutdown(oldest->channel.socket.fd, SHUT_RDWR); /* its thread sees the end */
}

int nbd_admit_locked(struct nbd_server *server, const struct nbd_peer *peer)
{
    const struct nbd_limits *limits = &server->limits;
    bool is_unix = peer->kind == NBD_UNIX;
    unsigned tcp = 0, same = 0;
    for (const struct nbd_connection *one = server->live; one; one = one->next) {
        tcp += one->peer.kind != NBD_UNIX;
        same += peer_is_same(&one->peer, peer);
    }
    if (server->live_count >= limits->connections || (!is_unix && tcp >= limits->tcp_connections) ||
        (!peer_is_root(peer) && same >= (is_unix ? limits->unix_peer : limits->tcp_peer)))
        return -EUSERS;
    if (server->handshake_count[peer->kind] >= limits->handshakes)
        server_end_oldest_handshake_locked(server, peer->kind);
    server->handshake_count[peer->kind]++;
    return 0;
}

void nbd_connection_enter_locked(struct nbd_connection *connection, enum nbd_connection_state state)
{
    unsigned *greeting = &connection->server->handshake_count[connection->peer.kind];
    assert(state != NBD_GREETING && connection->state != NBD_FINISHED); /* S4 */
    assert(connection->state != NBD_GREETING || *greeting > 0);         /* S2 */
    *greeting -= connection->state == NBD_GREETING;
    if (state > connection->state)
        connection->state = state;
}
