/* SPDX-License-Identifier: Apache-2.0
 *
 * The channel to a peer on its socket, and the buffers of a connection. See nbd/socket.h.
 *
 * A deadline is for the whole call, and the same deadline may be given to many calls: a peer that
 * sends a byte now and then gains nothing. Without a deadline the calls block in the kernel and
 * cost one system call; nbd/server.c wakes them by shutting the socket down.
 */
#include "block/nbd/socket.h"

#include "block/nbd/tls.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

/* Memory that an idle buffer keeps, as long as the budget is plenty: one 2 MiB request (what QEMU's
 * tools send) and its neighbours. */
#define BUFFER_KEEP_BYTES ((size_t)(2 << 20) + (64 << 10))

/* ---- buffers ---- */

int nbd_buffer_open(struct nbd_buffer *buffer, struct nbd_budget *budget)
{
    void *bytes = mmap(NULL, NBD_BUFFER_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    *buffer = (struct nbd_buffer){.bytes = bytes, .granted = NBD_OWN_BYTES, .budget = budget};
    return 0;
}

void nbd_buffer_close(struct nbd_buffer *buffer)
{
    if (!buffer->bytes)
        return;
    munmap(buffer->bytes, NBD_BUFFER_BYTES);
    nbd_budget_lower(buffer->budget, &buffer->granted, 0);
    buffer->bytes = NULL;
}

unsigned char *nbd_buffer_space(struct nbd_buffer *buffer, size_t length)
{
    assert(length <= nbd_buffer_room(buffer));
    if (buffer->touched < buffer->end + length)
        buffer->touched = buffer->end + length;
    return buffer->bytes + buffer->end;
}

void nbd_buffer_extend(struct nbd_buffer *buffer, size_t length)
{
    assert(length <= nbd_buffer_room(buffer));
    buffer->end += length;
    if (buffer->touched < buffer->end)
        buffer->touched = buffer->end;
}

void nbd_buffer_append(struct nbd_buffer *buffer, const void *data, size_t length)
{
    assert(length <= nbd_buffer_room(buffer));
    memcpy(buffer->bytes + buffer->end, data, length);
    nbd_buffer_extend(buffer, length);
}

/* The buffer is empty. */
static void buffer_give_back(struct nbd_buffer *buffer)
{
    size_t keep = nbd_budget_is_plenty(buffer->budget) ? BUFFER_KEEP_BYTES : NBD_OWN_BYTES;
    if (buffer->touched > keep) {
        /* Its failure would cost memory only. */
        madvise(buffer->bytes + keep, NBD_BUFFER_BYTES - keep, MADV_DONTNEED);
        buffer->touched = keep;
    }
    nbd_budget_lower(buffer->budget, &buffer->granted, keep);
}

void nbd_buffer_consume(struct nbd_buffer *buffer, size_t length)
{
    assert(length <= nbd_buffer_length(buffer));
    buffer->start += length;
    if (buffer->start < buffer->end)
        return;
    buffer->start = buffer->end = 0;
    if (buffer->granted > NBD_OWN_BYTES)
        buffer_give_back(buffer);
}

void nbd_buffer_compact(struct nbd_buffer *buffer)
{
    size_t length = nbd_buffer_length(buffer);
    if (buffer->start == 0)
        return;
    memmove(buffer->bytes, buffer->bytes + buffer->start, length);
    buffer->start = 0;
    buffer->end = length;
}

/* ---- sockets ---- */

static uint64_t socket_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t nbd_deadline(unsigned timeout_ms)
{
    return socket_now_ms() + timeout_ms;
}

static int socket_wait(int fd, short events, uint64_t deadline_ms)
{
    uint64_t now_ms = socket_now_ms();
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
static ssize_t socket_receive_once(struct nbd_channel *channel, void *buf, size_t length, int flags)
{
    if (channel->draining && length > channel->drain_bytes)
        length = channel->drain_bytes;
    if (length == 0)
        return -ECONNRESET;
    ssize_t got = recv(channel->fd, buf, length, flags);
    if (got <= 0)
        return got < 0 ? -errno : -ECONNRESET;
    if (channel->draining)
        channel->drain_bytes -= (size_t)got;
    return got;
}

/* With a deadline, NBD_WAIT_ALL may return less than all. */
ssize_t nbd_socket_receive(struct nbd_channel *channel, void *buf, size_t length,
                           enum nbd_wait wait, uint64_t deadline_ms)
{
    int flags = wait == NBD_WAIT_ALL ? MSG_WAITALL : 0;
    if (wait == NBD_WAIT_NOT || deadline_ms != NBD_NO_DEADLINE)
        flags = MSG_DONTWAIT;
    for (;;) {
        ssize_t got = socket_receive_once(channel, buf, length, flags);
        if (got >= 0 || (got == -EAGAIN && wait == NBD_WAIT_NOT))
            return got;
        int ret = socket_retry(channel->fd, (int)-got, POLLIN, deadline_ms);
        if (ret)
            return ret;
    }
}

int nbd_socket_write(struct nbd_channel *channel, const void *buf, size_t length,
                     uint64_t deadline_ms)
{
    const unsigned char *at = buf;
    int flags = MSG_NOSIGNAL | (deadline_ms == NBD_NO_DEADLINE ? 0 : MSG_DONTWAIT);
    while (length > 0) {
        ssize_t sent = send(channel->fd, at, length, flags);
        if (sent < 0) {
            int ret = socket_retry(channel->fd, errno, POLLOUT, deadline_ms);
            if (ret)
                return ret;
            continue;
        }
        at += sent;
        length -= (size_t)sent;
    }
    return 0;
}

/* ---- channels ---- */

static ssize_t channel_receive(struct nbd_channel *channel, void *buf, size_t length,
                               enum nbd_wait wait, uint64_t deadline_ms)
{
    return channel->tls ? nbd_tls_receive(channel->tls, channel, buf, length, wait, deadline_ms)
                        : nbd_socket_receive(channel, buf, length, wait, deadline_ms);
}

int nbd_channel_read(struct nbd_channel *channel, void *buf, size_t length, uint64_t deadline_ms)
{
    unsigned char *at = buf;
    while (length > 0) {
        ssize_t got = channel_receive(channel, at, length, NBD_WAIT_ALL, deadline_ms);
        if (got < 0)
            return (int)got;
        at += got;
        length -= (size_t)got;
    }
    return 0;
}

int nbd_channel_write(struct nbd_channel *channel, const void *buf, size_t length,
                      uint64_t deadline_ms)
{
    return channel->tls ? nbd_tls_write(channel->tls, channel, buf, length, deadline_ms)
                        : nbd_socket_write(channel, buf, length, deadline_ms);
}

int nbd_channel_send_buffer(struct nbd_channel *channel, struct nbd_buffer *buffer,
                            uint64_t deadline_ms)
{
    size_t length = nbd_buffer_length(buffer);
    int ret = nbd_channel_write(channel, nbd_buffer_head(buffer), length, deadline_ms);
    nbd_buffer_consume(buffer, length);
    return ret;
}

ssize_t nbd_channel_receive(struct nbd_channel *channel, void *buf, size_t length,
                            enum nbd_wait wait)
{
    return channel_receive(channel, buf, length, wait, NBD_NO_DEADLINE);
}

void nbd_channel_drain(struct nbd_channel *channel)
{
    int queued = 0;
    if (channel->draining)
        return;
    channel->draining = true;
    if (ioctl(channel->fd, FIONREAD, &queued) == 0 && queued > 0)
        channel->drain_bytes = (size_t)queued;
}

int nbd_channel_start_tls(struct nbd_channel *channel, const struct nbd_tls *tls,
                          uint64_t deadline_ms)
{
    assert(!channel->tls);
    channel->tls = nbd_tls_session_new(tls);
    return channel->tls ? nbd_tls_handshake(channel->tls, channel, deadline_ms) : -ENOMEM;
}

void nbd_channel_linger(struct nbd_channel *channel, uint64_t deadline_ms)
{
    unsigned char dropped[16384];
    if (channel->tls)
        nbd_tls_bye(channel->tls, channel, deadline_ms);
    if (shutdown(channel->fd, SHUT_WR) != 0)
        return;
    for (;;) {
        ssize_t got = recv(channel->fd, dropped, sizeof(dropped), MSG_DONTWAIT);
        if (got == 0 || (got < 0 && socket_retry(channel->fd, errno, POLLIN, deadline_ms) != 0))
            return;
        if (socket_now_ms() >= deadline_ms)
            return;
    }
}

void nbd_channel_end(struct nbd_channel *channel)
{
    if (!channel->tls)
        return;
    nbd_tls_bye(channel->tls, channel, 0);
    nbd_tls_session_free(channel->tls);
    channel->tls = NULL;
}
