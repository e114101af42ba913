/* SPDX-License-Identifier: Apache-2.0
 *
 * The channel to a peer, and the two buffers of its connection. Data paths: 0 or -errno; -ECONNRESET
 * where the peer has hung up, -ETIMEDOUT where the deadline has passed. All bytes of a connection go
 * through its channel, so that nothing else need know what lies between it and the socket. One
 * thread may receive while another one sends; everything else is for one thread at a time.
 *
 * A buffer is one anonymous mapping, large enough for the largest request or reply, of which only
 * the part that was used takes memory, and only the part that was granted may be used:
 *
 *      0        start            end                granted             NBD_BUFFER_BYTES
 *      |--------|################|------------------|-------------------|
 *               received, not    free: the next recv() or
 *               yet executed     the next reply goes here
 *
 * So a payload of any size is received, and the data of any READ sent, without one more copy.
 */
#ifndef BLOCK_NBD_SOCKET_H
#define BLOCK_NBD_SOCKET_H

#include "block/nbd/budget.h"
#include "block/nbd/protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

/* One payload with its header, behind what can have been received in front of it. */
#define NBD_BUFFER_BYTES ((size_t)NBD_PAYLOAD_BYTES_MAX + (1U << 20))

struct nbd_buffer {
    unsigned char *bytes;
    size_t start, end;
    size_t touched; /* no byte at or after this one takes memory */
    size_t granted; /* NBD_OWN_BYTES and what is taken from the budget; touched <= granted */
    struct nbd_budget *budget;
};

int nbd_buffer_open(struct nbd_buffer *buffer, struct nbd_budget *budget);
void nbd_buffer_close(struct nbd_buffer *buffer);

static inline size_t nbd_buffer_length(const struct nbd_buffer *buffer)
{
    return buffer->end - buffer->start;
}

static inline const unsigned char *nbd_buffer_head(const struct nbd_buffer *buffer)
{
    return buffer->bytes + buffer->start;
}

static inline size_t nbd_buffer_room(const struct nbd_buffer *buffer)
{
    return buffer->granted - buffer->end;
}

/* Sees to it that `length` more bytes fit. False: the budget has no room for them. */
static inline bool nbd_buffer_make_room(struct nbd_buffer *buffer, size_t length)
{
    return length <= NBD_BUFFER_BYTES - buffer->end &&
           nbd_budget_raise(buffer->budget, &buffer->granted, buffer->end + length);
}

/* Has what is filled in next begin `skip` bytes further on; the buffer is empty. */
static inline void nbd_buffer_skip(struct nbd_buffer *buffer, size_t skip)
{
    buffer->start = buffer->end = skip;
}

/* The free bytes, to be filled in place; at most `length`, which fit. */
unsigned char *nbd_buffer_space(struct nbd_buffer *buffer, size_t length);

/* Marks the first `length` free bytes, filled in place, as used. They fit. */
void nbd_buffer_extend(struct nbd_buffer *buffer, size_t length);

/* Appends a copy. It fits. */
void nbd_buffer_append(struct nbd_buffer *buffer, const void *data, size_t length);

/* Takes `length` bytes off the front; an emptied buffer starts again at 0 and gives memory back. */
void nbd_buffer_consume(struct nbd_buffer *buffer, size_t length);

/* Moves what is in the buffer to its front. */
void nbd_buffer_compact(struct nbd_buffer *buffer);

/* Milliseconds on the monotonic clock, `timeout_ms` from now. */
uint64_t nbd_deadline(unsigned timeout_ms);
#define NBD_NO_DEADLINE UINT64_MAX

struct nbd_tls;
struct nbd_tls_session;

struct nbd_channel {
    int fd;
    struct nbd_tls_session *tls; /* or NULL: what is sent is what the socket gets */
    /* The receiving thread's. */
    bool draining; /* only `drain_bytes` more are received from the socket */
    size_t drain_bytes;
};

/* Receives or sends all of `length` bytes. */
int nbd_channel_read(struct nbd_channel *channel, void *buf, size_t length, uint64_t deadline_ms);
int nbd_channel_write(struct nbd_channel *channel, const void *buf, size_t length,
                      uint64_t deadline_ms);

/* Sends and empties the buffer. */
int nbd_channel_send_buffer(struct nbd_channel *channel, struct nbd_buffer *buffer,
                            uint64_t deadline_ms);

/* Receives what has arrived, up to `length` (at least 1) bytes. Returns how many; -errno if there
 * are none. */
enum nbd_wait {
    NBD_WAIT_NOT,  /* -EAGAIN if nothing has arrived */
    NBD_WAIT_SOME, /* until something has arrived */
    NBD_WAIT_ALL,  /* until all of it has; less comes only at the end of the connection */
};
ssize_t nbd_channel_receive(struct nbd_channel *channel, void *buf, size_t length,
                            enum nbd_wait wait);

/* From now on only what has arrived by now is received; then it is as if the peer had hung up. */
void nbd_channel_drain(struct nbd_channel *channel);

/* Starts TLS, as the server: from now on the channel carries what is inside it. On failure the
 * connection is of no use any more. */
int nbd_channel_start_tls(struct nbd_channel *channel, const struct nbd_tls *tls,
                          uint64_t deadline_ms);

/* For a connection that is closed before the peer expects it: says so, then reads and drops what is
 * still under way, until the peer has hung up or the deadline has passed, so that a reset overtakes
 * no reply. */
void nbd_channel_linger(struct nbd_channel *channel, uint64_t deadline_ms);

/* Says that nothing more is sent, without waiting, and gives back all but the descriptor. */
void nbd_channel_end(struct nbd_channel *channel);

/* ---- the socket beneath a channel: for nbd/tls-session.c ---- */

ssize_t nbd_socket_receive(struct nbd_channel *channel, void *buf, size_t length,
                           enum nbd_wait wait, uint64_t deadline_ms);
int nbd_socket_write(struct nbd_channel *channel, const void *buf, size_t length,
                     uint64_t deadline_ms);

#endif
