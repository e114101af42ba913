/* SPDX-License-Identifier: Apache-2.0
 *
 * Sockets. See socket.h.
 *
 * A deadline bounds the whole call, and many calls may share one deadline: a peer that trickles
 * bytes gains nothing. Without a deadline a call blocks in the kernel and costs one system call;
 * server.c wakes it by shutting the socket down.
 */
#include "block/nbd/socket.h"

#include "base/monotonic.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

uint64_t nbd_deadline(unsigned timeout_ms)
{
    return clock_monotonic_ms() + timeout_ms;
}

static int socket_wait(int fd, short events, uint64_t deadline_ms)
{
    uint64_t now_ms = clock_monotonic_ms();
    if (now_ms >= deadline_ms)
        return -ETIMEDOUT;
    uint64_t left_ms = deadline_ms - now_ms;
    struct pollfd pollfd = {.fd = fd, .events = events};
    int ready = poll(&pollfd, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
    if (ready < 0 && errno != EINTR)
        return -errno;
    return ready == 0 ? -ETIMEDOUT : 0;
}

/* What to do about a recv() or send() that failed with `error`: 0 means try again. */
static int socket_retry(int fd, int error, short events, uint64_t deadline_ms)
{
    if (error == EINTR)
        return 0;
    if (error != EAGAIN)
        return -error;
    return socket_wait(fd, events, deadline_ms);
}

/* One recv(), within what draining allows: the number of bytes, or -errno. */
static ssize_t socket_receive_once(struct nbd_socket *socket, void *buf, size_t length, int flags)
{
    if (socket->draining && length > socket->drain_bytes)
        length = socket->drain_bytes;
    if (length == 0)
        return -ECONNRESET;
    ssize_t got = recv(socket->fd, buf, length, flags);
    if (got <= 0)
        return got < 0 ? -errno : -ECONNRESET;
    if (socket->draining)
        socket->drain_bytes -= (size_t)got;
    return got;
}

ssize_t nbd_socket_receive(struct nbd_socket *socket, void *buf, size_t length, enum nbd_wait wait,
                           uint64_t deadline_ms)
{
    int flags = wait == NBD_WAIT_ALL ? MSG_WAITALL : 0;
    if (wait == NBD_WAIT_NOT || deadline_ms != NBD_NO_DEADLINE)
        flags = MSG_DONTWAIT;
    for (;;) {
        ssize_t got = socket_receive_once(socket, buf, length, flags);
        if (got >= 0 || (got == -EAGAIN && wait == NBD_WAIT_NOT))
            return got;
        int ret = socket_retry(socket->fd, (int)-got, POLLIN, deadline_ms);
        if (ret)
            return ret;
    }
}

int nbd_socket_write(struct nbd_socket *socket, const void *buf, size_t length,
                     uint64_t deadline_ms)
{
    const unsigned char *at = buf;
    int flags = MSG_NOSIGNAL | (deadline_ms == NBD_NO_DEADLINE ? 0 : MSG_DONTWAIT);
    while (length > 0) {
        ssize_t sent = send(socket->fd, at, length, flags);
        if (sent < 0) {
            int ret = socket_retry(socket->fd, errno, POLLOUT, deadline_ms);
            if (ret)
                return ret;
            continue;
        }
        at += sent;
        length -= (size_t)sent;
    }
    return 0;
}

void nbd_socket_drain(struct nbd_socket *socket)
{
    int queued = 0;
    if (socket->draining)
        return;
    socket->draining = true;
    if (ioctl(socket->fd, FIONREAD, &queued) == 0 && queued > 0)
        socket->drain_bytes = (size_t)queued;
}

void nbd_socket_linger(struct nbd_socket *socket, uint64_t deadline_ms)
{
    unsigned char dropped[16384];
    if (shutdown(socket->fd, SHUT_WR) != 0)
        return;
    for (;;) {
        ssize_t got = recv(socket->fd, dropped, sizeof(dropped), MSG_DONTWAIT);
        if (got == 0 || (got < 0 && socket_retry(socket->fd, errno, POLLIN, deadline_ms) != 0))
            return;
        if (clock_monotonic_ms() >= deadline_ms)
            return;
    }
}
