/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of one HTTP connection, with a deadline. Everything that is received and sent passes
 * through here: a TLS session (tls.h), if there is one, is between this buffer and the socket,
 * unseen by the callers.
 *
 * Data paths: 0 or more, or -errno: -ETIMEDOUT after the deadline, -ECONNRESET if the peer has gone
 * or the server has shut the socket down, -EBADMSG and -EMSGSIZE as below. One thread.
 *
 * Invariant: T1  start <= end <= HTTP_STREAM_BYTES.
 */
#ifndef SERVICE_HTTP_STREAM_H
#define SERVICE_HTTP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_STREAM_BYTES 16384

struct http_tls;

struct http_stream {
    int fd;               /* non-blocking */
    struct http_tls *tls; /* owned; NULL: plain text */
    uint64_t deadline_ms; /* of everything that is received or sent */
    size_t start, end;    /* of the bytes received and not yet read */
    char buffer[HTTP_STREAM_BYTES];
};

/* Sets the deadline `seconds` from now. */
void http_stream_allow(struct http_stream *stream, unsigned seconds);

/* Waits for the first byte of a connection that is to have TLS, and leaves it: whether it begins a
 * request in plain text. A TLS record begins with 0x16, a method with a letter. */
bool http_stream_is_plain(struct http_stream *stream);

/* Shakes hands, if the stream has TLS; before anything else. -EPROTO: the client is refused. */
int http_stream_handshake(struct http_stream *stream);

/* Waits for bytes to read. */
int http_stream_wait(struct http_stream *stream);

/*
 * Reads a line into `line`, without its CR LF, zero-terminated; returns its length. -EBADMSG: it
 * ends in a bare LF or contains a zero; -EMSGSIZE: it does not fit into `room` bytes.
 */
ssize_t http_stream_line(struct http_stream *stream, char *line, size_t room);

/* Reads `bytes` bytes. */
int http_stream_read(struct http_stream *stream, char *data, size_t bytes);

/* Sends what the socket takes at once: the number of bytes, or -EAGAIN. */
ssize_t http_stream_send_some(struct http_stream *stream, const char *data, size_t bytes);

/* Sends all of both parts. */
int http_stream_write(struct http_stream *stream, const char *head, size_t head_bytes,
                      const char *body, size_t body_bytes);

/* Shuts down sending, then discards input until the peer closes: a reset would destroy a reply that
 * the peer has not read yet. */
void http_stream_linger(struct http_stream *stream);

/* Announces the end, without waiting, and frees everything but the descriptor. */
void http_stream_end(struct http_stream *stream);

#endif
