/* SPDX-License-Identifier: Apache-2.0
 *
 * The channel to a peer: its socket, with TLS in between once that is started. All bytes of a
 * connection go through its channel, so that nothing else need know about TLS. Returns 0 or -errno
 * as socket.h says. One thread may receive while another one sends; everything else is for one
 * thread at a time.
 */
#ifndef BLOCK_NBD_CHANNEL_H
#define BLOCK_NBD_CHANNEL_H

#include "block/nbd/buffer.h"
#include "block/nbd/socket.h"

struct nbd_tls_session;
struct tls_credentials;

struct nbd_channel {
    struct nbd_socket socket;
    struct nbd_tls_session *tls; /* owned; NULL: plain text */
};

/* Receives or sends all of `length` bytes. */
int nbd_channel_read(struct nbd_channel *channel, void *buf, size_t length, uint64_t deadline_ms);
int nbd_channel_write(struct nbd_channel *channel, const void *buf, size_t length,
                      uint64_t deadline_ms);

/* Sends and empties the buffer. */
int nbd_channel_send_buffer(struct nbd_channel *channel, struct nbd_buffer *buffer,
                            uint64_t deadline_ms);

/* nbd_socket_receive() of the channel's bytes, without a deadline. */
ssize_t nbd_channel_receive(struct nbd_channel *channel, void *buf, size_t length,
                            enum nbd_wait wait);

/* Starts TLS, as the server: from now on the channel carries the content of the TLS session. Takes
 * over the reference. After a failure the connection is useless. */
int nbd_channel_start_tls(struct nbd_channel *channel, struct tls_credentials *credentials,
                          uint64_t deadline_ms);

/* For a connection that is closed before the peer expects it: announces the end, then lingers as
 * nbd_socket_linger() does. */
void nbd_channel_linger(struct nbd_channel *channel, uint64_t deadline_ms);

/* Announces the end without waiting, and frees everything but the descriptor. */
void nbd_channel_end(struct nbd_channel *channel);

#endif
