/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of one HTTP connection, with a deadline. All that is received and sent passes through here,
 * so that this is the one place that TLS will change: its session lies between this buffer and the
 * socket, as in block/nbd/tls-session.c, and nothing above sees the difference.
 *
 * Data paths: 0 or more, or -errno: -ETIMEDOUT after the deadline, -ECONNRESET where the peer has gone
 * (or the server has shut the socket down), -EBADMSG and -EMSGSIZE as said below. One thread.
 */
#ifndef SERVICE_HTTP_STREAM_H
#define SERVICE_HTTP_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_STREAM_BYTES 16384

struct http_stream {
    int fd;               /* non-blocking */
    uint64_t deadline_ms; /* for all that is received or sent until it is set again */
    size_t start, end;    /* received and not taken yet */
    char buffer[HTTP_STREAM_BYTES];
};

/* Milliseconds of the monotonic clock. */
uint64_t http_clock_ms(void);

/* Sets the deadline `seconds` from now. */
void http_stream_allow(struct http_stream *stream, unsigned seconds);

/* Waits until there is something to take. */
int http_stream_wait(struct http_stream *stream);

/*
 * Takes a line. `line` gets it without its CR LF, zero-terminated; returns its length. -EBADMSG: it ends
 * in a bare LF or contains a zero; -EMSGSIZE: it does not fit into `room` bytes.
 */
ssize_t http_stream_line(struct http_stream *stream, char *line, size_t room);

/* Takes `bytes` bytes. */
int http_stream_read(struct http_stream *stream, char *data, size_t bytes);

/* Sends all of both parts. */
int http_stream_write(struct http_stream *stream, const char *head, size_t head_bytes,
                      const char *body, size_t body_bytes);

/* Says that nothing more is sent, then drops what still comes, until the peer closes too: a reply that
 * is under way would be lost to a reset otherwise. */
void http_stream_linger(struct http_stream *stream);

#endif
