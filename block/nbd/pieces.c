/* SPDX-License-Identifier: Apache-2.0
 *
 * Large requests for which the budget has no room (nbd/budget.h). On the connection's thread:
 *
 *     READ     header --> execute a piece, send it --> ...
 *     WRITE    receive a piece, execute it --> ... --> reply
 *
 * It takes no more than the connection's own memory, whatever the size, and waits for nobody but
 * this client and this disk. The price is that it holds up the connection's other requests, and
 * that of a WRITE whose client goes away half-way the first half is written: it was not
 * acknowledged.
 */
#include "block/nbd/pieces.h"

#include "block/nbd/read.h"
#include "block/nbd/reply.h"

#include <assert.h>
#include <errno.h>

static_assert(NBD_PIECE_BYTES + 2 * NBD_CHUNK_BYTES_MAX <= NBD_OWN_BYTES,
              "a piece and what goes with it fit into a buffer whatever the others take");

int nbd_read_in_pieces(struct nbd_connection *connection, const struct nbd_request *request)
{
    struct nbd_buffer *out = &connection->out;
    int ret = 0;
    assert(request->type == NBD_CMD_READ && nbd_buffer_length(out) == 0);
    for (uint64_t done = 0; done < request->length && !ret;) {
        void *reply = nbd_buffer_space(out, NBD_PIECE_BYTES + 2 * NBD_CHUNK_BYTES_MAX);
        size_t length = nbd_read_piece(&connection->session, request, &done, reply);
        if (length == 0)
            return -EIO;
        nbd_buffer_extend(out, length);
        ret = nbd_channel_send_buffer(&connection->channel, out, NBD_NO_DEADLINE);
    }
    return ret;
}

/* Receives until `length` bytes are there, and no more. */
static int piece_receive(struct nbd_connection *connection, size_t length)
{
    struct nbd_buffer *in = &connection->in;
    nbd_buffer_compact(in);
    while (nbd_buffer_length(in) < length) {
        if (atomic_load(&connection->stop.begun))
            nbd_socket_drain(&connection->channel.socket);
        ssize_t got = nbd_channel_receive(&connection->channel, in->bytes + in->end,
                                          length - nbd_buffer_length(in), NBD_WAIT_ALL);
        if (got < 0)
            return (int)got;
        nbd_buffer_extend(in, (size_t)got);
    }
    return 0;
}

/* Whether it is to be executed. Beside WRITE no request has a payload of such a size. */
static int write_check(const struct nbd_session *session, const struct nbd_request *request)
{
    struct nbd_request checked = *request;
    return request->type == NBD_CMD_WRITE ? nbd_request_check(session, &checked, NULL) : -EINVAL;
}

int nbd_write_in_pieces(struct nbd_connection *connection, const struct nbd_request *request)
{
    const struct nbd_session *session = &connection->session;
    struct nbd_request piece = *request;
    int error = write_check(session, request);
    piece.flags &= (uint16_t)~NBD_CMD_FLAG_FUA;
    nbd_buffer_consume(&connection->in, nbd_request_header_bytes(session));
    for (uint64_t left = request->payload_bytes; left > 0; left -= piece.length) {
        piece.length = left < NBD_PIECE_BYTES ? left : NBD_PIECE_BYTES;
        piece.payload_bytes = piece.length;
        int ret = piece_receive(connection, piece.length);
        if (ret)
            return ret;
        if (!error)
            error = nbd_request_run(session, &piece, nbd_buffer_head(&connection->in), false);
        nbd_buffer_consume(&connection->in, piece.length);
        piece.offset += piece.length;
    }
    if (!error && (request->flags & NBD_CMD_FLAG_FUA))
        error = nbd_request_run(session, &(struct nbd_request){.type = NBD_CMD_FLUSH}, NULL, false);
    void *reply = nbd_buffer_space(&connection->out, NBD_CHUNK_BYTES_MAX);
    nbd_buffer_extend(&connection->out, nbd_reply_plain(session, request, error, reply));
    return 0;
}
