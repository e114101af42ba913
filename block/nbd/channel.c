/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels. See channel.h.
 */
#include "block/nbd/channel.h"

#include "block/nbd/tls-session.h"

#include <assert.h>
#include <errno.h>

static ssize_t channel_receive(struct nbd_channel *channel, void *buf, size_t length,
                               enum nbd_wait wait, uint64_t deadline_ms)
{
    return channel->tls ? nbd_tls_session_receive(channel->tls, &channel->socket, buf, length, wait,
                                                  deadline_ms)
                        : nbd_socket_receive(&channel->socket, buf, length, wait, deadline_ms);
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
    return channel->tls
               ? nbd_tls_session_write(channel->tls, &channel->socket, buf, length, deadline_ms)
               : nbd_socket_write(&channel->socket, buf, length, deadline_ms);
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

int nbd_channel_start_tls(struct nbd_channel *channel, struct tls_credentials *credentials,
                          uint64_t deadline_ms)
{
    assert(!channel->tls);
    channel->tls = nbd_tls_session_new(credentials);
    return channel->tls ? nbd_tls_session_handshake(channel->tls, &channel->socket, deadline_ms)
                        : -ENOMEM;
}

void nbd_channel_linger(struct nbd_channel *channel, uint64_t deadline_ms)
{
    if (channel->tls)
        nbd_tls_session_bye(channel->tls, &channel->socket, deadline_ms);
    nbd_socket_linger(&channel->socket, deadline_ms);
}

void nbd_channel_end(struct nbd_channel *channel)
{
    if (!channel->tls)
        return;
    nbd_tls_session_bye(channel->tls, &channel->socket, 0);
    nbd_tls_session_free(channel->tls);
    channel->tls = NULL;
}
