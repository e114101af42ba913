/* SPDX-License-Identifier: Apache-2.0
 *
 * See stream.h.
 */
#include "service/http/stream.h"

#include "base/monotonic.h"
#include "service/http/tls.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

/* Discarded at most of a client that goes on sending after its last reply. */
#define LINGER_MAX_BYTES ((size_t)64 << 20)

#define RECORD_BYTES 16384 /* of TLS, at most */

void http_stream_allow(struct http_stream *stream, unsigned seconds)
{
    stream->deadline_ms = clock_monotonic_ms() + seconds * 1000ULL;
}

static void stream_assert(const struct http_stream *stream)
{
    (void)stream;
    assert(stream->start <= stream->end && stream->end <= sizeof(stream->buffer)); /* T1 */
    assert(stream->deadline_ms > 0);
}

/* Waits until the socket is ready for `events`. */
static int stream_poll(const struct http_stream *stream, short events)
{
    struct pollfd poll_fd = {.fd = stream->fd, .events = events};
    for (;;) {
        uint64_t now = clock_monotonic_ms();
        uint64_t left = stream->deadline_ms > now ? stream->deadline_ms - now : 0;
        int ready = poll(&poll_fd, 1, left > INT_MAX ? INT_MAX : (int)left);
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready == 0 && clock_monotonic_ms() >= stream->deadline_ms)
            return -ETIMEDOUT;
    }
}

/* ---- the transport: the socket, or the TLS session on it ---- */

static short transport_wants(const struct http_stream *stream, short otherwise)
{
    return stream->tls ? http_tls_wants(stream->tls) : otherwise;
}

static ssize_t transport_receive(struct http_stream *stream, char *data, size_t bytes)
{
    if (stream->tls)
        return http_tls_receive(stream->tls, data, bytes);
    ssize_t got = recv(stream->fd, data, bytes, 0);
    return got < 0 ? -errno : got;
}

/* Sends some of the parts through TLS: as much of both as one record takes, since each record costs
 * a system call. After -EAGAIN the parts are the same, so the record is, too. */
static ssize_t transport_send_tls(struct http_tls *tls, const struct iovec parts[2])
{
    char record[RECORD_BYTES];
    if (parts[0].iov_len == 0 || parts[0].iov_len >= sizeof(record))
        return http_tls_send(tls, parts[parts[0].iov_len == 0].iov_base,
                             parts[parts[0].iov_len == 0].iov_len);
    size_t room = sizeof(record) - parts[0].iov_len;
    size_t rest = parts[1].iov_len < room ? parts[1].iov_len : room;
    memcpy(record, parts[0].iov_base, parts[0].iov_len);
    if (rest > 0)
        memcpy(record + parts[0].iov_len, parts[1].iov_base, rest);
    return http_tls_send(tls, record, parts[0].iov_len + rest);
}

/* Sends some of the parts. */
static ssize_t transport_send(struct http_stream *stream, struct iovec parts[2])
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (stream->tls)
        return transport_send_tls(stream->tls, parts);
    ssize_t sent = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

bool http_stream_is_plain(struct http_stream *stream)
{
    char first;
    assert(!stream->tls);
    return stream_poll(stream, POLLIN) == 0 && recv(stream->fd, &first, 1, MSG_PEEK) == 1 &&
           first >= 'A' && first <= 'Z';
}

int http_stream_handshake(struct http_stream *stream)
{
    if (!stream->tls)
        return 0;
    for (;;) {
        if (clock_monotonic_ms() >= stream->deadline_ms)
            return -ETIMEDOUT;
        int ret = http_tls_handshake(stream->tls);
        if (ret != -EAGAIN)
            return ret;
        ret = stream_poll(stream, http_tls_wants(stream->tls));
        if (ret != 0)
            return ret;
    }
}

/* ---- reading and writing ---- */

/* Receives at least a byte. Checks the deadline also while there is input: a peer that sends byte
 * by byte must not escape it. */
static ssize_t stream_receive(struct http_stream *stream, char *data, size_t bytes)
{
    for (;;) {
        if (clock_monotonic_ms() >= stream->deadline_ms)
            return -ETIMEDOUT;
        ssize_t got = transport_receive(stream, data, bytes);
        if (got > 0)
            return got;
        if (got == 0)
            return -ECONNRESET;
        int ret = got == -EAGAIN ? stream_poll(stream, transport_wants(stream, POLLIN)) : 0;
        if (ret != 0)
            return ret;
        if (got != -EAGAIN && got != -EINTR)
            return -ECONNRESET;
    }
}

int http_stream_wait(struct http_stream *stream)
{
    stream_assert(stream);
    if (stream->start < stream->end)
        return 0;
    ssize_t got = stream_receive(stream, stream->buffer, sizeof(stream->buffer));
    if (got < 0)
        return (int)got;
    stream->start = 0;
    stream->end = (size_t)got;
    stream_assert(stream);
    return 0;
}

ssize_t http_stream_line(struct http_stream *stream, char *line, size_t room)
{
    size_t length = 0;
    const char *newline = NULL;
    while (!newline) {
        int ret = http_stream_wait(stream);
        if (ret != 0)
            return ret;
        const char *from = stream->buffer + stream->start;
        size_t bytes = stream->end - stream->start;
        newline = memchr(from, '\n', bytes);
        if (newline)
            bytes = (size_t)(newline - from) + 1;
        if (bytes >= room - length)
            return -EMSGSIZE;
        memcpy(line + length, from, bytes);
        length += bytes;
        stream->start += bytes;
    }
    stream_assert(stream);
    if (length < 2 || line[length - 2] != '\r')
        return -EBADMSG;
    length -= 2;
    line[length] = '\0';
    return strlen(line) == length ? (ssize_t)length : -EBADMSG;
}

int http_stream_read(struct http_stream *stream, char *data, size_t bytes)
{
    stream_assert(stream);
    size_t buffered = stream->end - stream->start;
    size_t done = buffered < bytes ? buffered : bytes;
    memcpy(data, stream->buffer + stream->start, done);
    stream->start += done;
    while (done < bytes) {
        ssize_t got = stream_receive(stream, data + done, bytes - done);
        if (got < 0)
            return (int)got;
        done += (size_t)got;
    }
    return 0;
}

int http_stream_write(struct http_stream *stream, const char *head, size_t head_bytes,
                      const char *body, size_t body_bytes)
{
    struct iovec parts[] = {{(void *)head, head_bytes}, {(void *)body, body_bytes}};
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t sent = transport_send(stream, parts);
        if (sent == -EAGAIN) {
            int ret = stream_poll(stream, transport_wants(stream, POLLOUT));
            if (ret != 0)
                return ret;
        } else if (sent < 0 && sent != -EINTR) {
            return -ECONNRESET;
        }
        for (size_t i = 0; sent > 0 && i < 2; i++) {
            size_t part = (size_t)sent < parts[i].iov_len ? (size_t)sent : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + part;
            parts[i].iov_len -= part;
            sent -= (ssize_t)part;
        }
        if (clock_monotonic_ms() >= stream->deadline_ms)
            return -ETIMEDOUT;
    }
    return 0;
}

ssize_t http_stream_send_some(struct http_stream *stream, const char *data, size_t bytes)
{
    ssize_t sent;
    if (stream->tls)
        return http_tls_send(stream->tls, data, bytes);
    do
        sent = send(stream->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent >= 0 ? sent : errno == EAGAIN ? -EAGAIN : -ECONNRESET;
}

void http_stream_linger(struct http_stream *stream)
{
    while (stream->tls && http_tls_bye(stream->tls) == -EAGAIN)
        if (stream_poll(stream, POLLOUT) != 0)
            return;
    shutdown(stream->fd, SHUT_WR);
    for (size_t dropped = 0; dropped < LINGER_MAX_BYTES;) {
        ssize_t got = stream_receive(stream, stream->buffer, sizeof(stream->buffer));
        if (got < 0)
            return;
        dropped += (size_t)got;
    }
}

void http_stream_end(struct http_stream *stream)
{
    if (!stream->tls)
        return;
    http_tls_bye(stream->tls); /* a full socket's peer is told by the end of the connection alone */
    http_tls_free(stream->tls);
    stream->tls = NULL;
}
