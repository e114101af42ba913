/* SPDX-License-Identifier: Apache-2.0
 *
 * The transmission phase: requests in, simple replies out. On the connection's thread. Spec
 * sections: "Request message", "Simple reply message", "Request types", "Error values".
 *
 *      receive a lot --> execute every complete request, in order --> send all replies --+
 *           ^                                                                            |
 *           +------------- nothing complete is left: wait for more <---------------------+
 *
 * Batch in, batch out: a client that keeps many requests under way costs one receive and one send
 * for all of them. A batch is sent before it grows beyond SEND_BYTES, and before a request that
 * waits for a disk, so that no finished request waits for a slow one. The payload of a WRITE is
 * written from where it was received, the data of a READ is read to where it is sent from.
 *
 * A request that cannot be executed gets an error and the connection lives on. It ends when the
 * client disconnects, when what arrives can no longer be told apart into requests, or when the
 * server stops.
 */
#include "block/export/nbd-server.h"

#include "base/log.h"
#include "block/io.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>

enum {
    RECEIVE_BYTES = 256 << 10,
    SEND_BYTES = 256 << 10,
    SMALL_BYTES = 64 << 10, /* an unfinished request up to this size is moved to the front */
};

static_assert(RECEIVE_BYTES + SMALL_BYTES + sizeof(struct nbd_request_be) + NBD_PAYLOAD_BYTES_MAX <=
                  NBD_BUFFER_BYTES,
              "the largest WRITE fits behind what was received with its beginning");

struct request {
    uint16_t flags, type;
    uint64_t cookie_be; /* the client's own; goes back as it came */
    uint64_t offset;
    uint32_t length;
};

/* What stands at the head of the input. */
enum head { HEAD_PARTIAL, HEAD_COMPLETE, HEAD_GARBAGE };

/* Decodes the head of the input; *missing is how many bytes a partial request still lacks, as far
 * as is known. */
static enum head request_decode(const struct nbd_buffer *in, struct request *request,
                                size_t *missing)
{
    struct nbd_request_be be;
    size_t whole = sizeof(be);
    *missing = 0;
    if (nbd_buffer_length(in) < sizeof(be)) {
        *missing = whole - nbd_buffer_length(in);
        return HEAD_PARTIAL;
    }
    memcpy(&be, nbd_buffer_head(in), sizeof(be));
    if (be32toh(be.magic) != NBD_REQUEST_MAGIC)
        return HEAD_GARBAGE;
    *request = (struct request){
        .flags = be16toh(be.flags),
        .type = be16toh(be.type),
        .cookie_be = be.cookie,
        .offset = be64toh(be.offset),
        .length = be32toh(be.length),
    };
    if (request->type == NBD_CMD_WRITE && request->length <= NBD_PAYLOAD_BYTES_MAX)
        whole += request->length;
    if (nbd_buffer_length(in) >= whole)
        return HEAD_COMPLETE;
    *missing = whole - nbd_buffer_length(in);
    return HEAD_PARTIAL;
}

/* ---- executing ---- */

/* The one place where errnos become the protocol's. */
static enum nbd_error error_from_errno(int error)
{
    switch (error) {
    case 0:
        return NBD_SUCCESS;
    case EPERM:
    case EROFS:
        return NBD_EPERM;
    case EINVAL:
        return NBD_EINVAL;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return NBD_ENOSPC;
    case ENOMEM:
        return NBD_ENOMEM;
    default:
        return NBD_EIO;
    }
}

static bool request_changes_device(const struct request *request)
{
    return request->type == NBD_CMD_WRITE || request->type == NBD_CMD_TRIM ||
           request->type == NBD_CMD_WRITE_ZEROES;
}

/* Whether the client asks for something that there is. FUA is legal on every command. */
static int request_check(const struct device *device, const struct request *request)
{
    uint16_t known = NBD_CMD_FLAG_FUA;
    if (request->type == NBD_CMD_WRITE_ZEROES)
        known |= NBD_CMD_FLAG_NO_HOLE;
    if (request->flags & ~known)
        return -EINVAL;
    if (request->type == NBD_CMD_FLUSH)
        return request->offset == 0 && request->length == 0 ? 0 : -EINVAL;
    if (request->type != NBD_CMD_READ && !request_changes_device(request))
        return -EINVAL;
    if (request_changes_device(request) && device_is_read_only(device))
        return -EPERM;
    if (request->type == NBD_CMD_READ && request->length > NBD_PAYLOAD_BYTES_MAX)
        return -EINVAL;
    uint64_t size_bytes = device_size_bytes(device);
    if (request->offset <= size_bytes && request->length <= size_bytes - request->offset)
        return 0;
    return request->type == NBD_CMD_WRITE || request->type == NBD_CMD_WRITE_ZEROES ? -ENOSPC
                                                                                   : -EINVAL;
}

/* Executes a checked request; the data of a READ go to `data`. */
static int request_execute(struct device *device, const struct request *request,
                           const void *payload, void *data)
{
    unsigned flags = request->flags & NBD_CMD_FLAG_FUA ? IO_FUA : 0;
    if (request->flags & NBD_CMD_FLAG_NO_HOLE)
        flags |= IO_NO_HOLE;
    switch (request->type) {
    case NBD_CMD_READ:
        return device_read(device, data, request->offset, request->length);
    case NBD_CMD_WRITE:
        return device_write(device, payload, request->offset, request->length, flags);
    case NBD_CMD_FLUSH:
        return device_flush(device);
    case NBD_CMD_TRIM:
        return device_discard(device, request->offset, request->length, flags);
    case NBD_CMD_WRITE_ZEROES:
        return device_zero(device, request->offset, request->length, flags);
    default:
        return -EINVAL;
    }
}

/* ---- replies ---- */

static int replies_send(struct nbd_connection *connection)
{
    if (nbd_buffer_length(&connection->out) == 0)
        return 0;
    return nbd_channel_send_buffer(&connection->channel, &connection->out, NBD_NO_DEADLINE);
}

/* Whether the replies gathered so far should go out before this request is executed. */
static bool replies_are_due(const struct nbd_buffer *out, const struct request *request)
{
    size_t length = nbd_buffer_length(out);
    bool slow = request->type == NBD_CMD_FLUSH || request->type == NBD_CMD_TRIM ||
                request->type == NBD_CMD_WRITE_ZEROES || (request->flags & NBD_CMD_FLAG_FUA);
    size_t data_bytes = request->type == NBD_CMD_READ ? request->length : 0;
    return length > 0 && (slow || length + data_bytes > SEND_BYTES);
}

/* Executes one request and appends its reply. Nonzero if the connection is to end. */
static int connection_answer(struct nbd_connection *connection, const struct request *request,
                             const void *payload)
{
    struct nbd_buffer *out = &connection->out;
    if (replies_are_due(out, request)) {
        int ret = replies_send(connection);
        if (ret)
            return ret;
    }
    int ret = request_check(connection->device, request);
    if (!ret) {
        void *data = out->bytes + out->end + sizeof(struct nbd_simple_reply_be);
        ret = request_execute(connection->device, request, payload, data);
    }
    struct nbd_simple_reply_be reply = {
        .magic = htobe32(NBD_SIMPLE_REPLY_MAGIC),
        .error = htobe32(error_from_errno(-ret)),
        .cookie = request->cookie_be,
    };
    nbd_buffer_append(out, &reply, sizeof(reply));
    if (!ret && request->type == NBD_CMD_READ)
        nbd_buffer_extend(out, request->length);
    return 0;
}

/* A WRITE with a payload that no server need take: refused, and not waited for. */
static int connection_refuse_payload(struct nbd_connection *connection,
                                     const struct request *request)
{
    struct nbd_simple_reply_be reply = {
        .magic = htobe32(NBD_SIMPLE_REPLY_MAGIC),
        .error = htobe32(NBD_EINVAL),
        .cookie = request->cookie_be,
    };
    log_warning("NBD connection closed: a write of %u bytes is over the limit of %u",
                request->length, NBD_PAYLOAD_BYTES_MAX);
    nbd_buffer_append(&connection->out, &reply, sizeof(reply));
    if (replies_send(connection) == 0)
        nbd_channel_linger(&connection->channel,
                           nbd_deadline(connection->server->limits.linger_ms));
    return -EMSGSIZE;
}

/* ---- the phase ---- */

/* Executes every complete request that has arrived. 0: *missing bytes of the next one are still to
 * come. */
static int connection_run_received(struct nbd_connection *connection, size_t *missing)
{
    struct nbd_buffer *in = &connection->in;
    struct request request;
    enum head head;
    while ((head = request_decode(in, &request, missing)) == HEAD_COMPLETE) {
        size_t payload_bytes = request.type == NBD_CMD_WRITE ? request.length : 0;
        if (request.type == NBD_CMD_DISC)
            return -ESHUTDOWN;
        if (payload_bytes > NBD_PAYLOAD_BYTES_MAX)
            return connection_refuse_payload(connection, &request);
        const void *payload = nbd_buffer_head(in) + sizeof(struct nbd_request_be);
        int ret = connection_answer(connection, &request, payload);
        if (ret)
            return ret;
        nbd_buffer_consume(in, sizeof(struct nbd_request_be) + payload_bytes);
    }
    if (head == HEAD_GARBAGE) {
        log_warning("NBD connection closed: what the client sent is not a request");
        return -EPROTO;
    }
    return 0;
}

/* Waits for more input: for the whole rest of a large request and not a byte more, so that the
 * buffer is empty after it; else for whatever comes. Once the server stops, only what has arrived by
 * then is still received. */
static int connection_receive(struct nbd_connection *connection, size_t missing)
{
    struct nbd_buffer *in = &connection->in;
    if (nbd_buffer_length(in) <= SMALL_BYTES)
        nbd_buffer_compact(in);
    bool large = missing > SMALL_BYTES || nbd_buffer_length(in) > SMALL_BYTES;
    if (atomic_load(&connection->server->stopping))
        nbd_channel_drain(&connection->channel);
    ssize_t got =
        nbd_channel_receive(&connection->channel, in->bytes + in->end,
                            large ? missing : RECEIVE_BYTES, large ? NBD_WAIT_ALL : NBD_WAIT_SOME);
    if (got < 0)
        return (int)got;
    nbd_buffer_extend(in, (size_t)got);
    return 0;
}

void nbd_transmission(struct nbd_connection *connection)
{
    int ret = 0;
    while (!ret) {
        size_t missing = 0;
        ret = connection_run_received(connection, &missing);
        int sent = replies_send(connection);
        if (!ret)
            ret = sent ? sent : connection_receive(connection, missing);
    }
    if (connection->channel.draining)
        nbd_channel_linger(&connection->channel,
                           nbd_deadline(connection->server->limits.linger_ms));
}
