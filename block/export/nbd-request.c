/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests and their replies. See nbd-request.h. Spec sections: "Request message", "Simple reply
 * message", "Request types", "Error values".
 *
 * The payload of a WRITE is written from where it was received, the data of a READ is read to where
 * it is sent from.
 */
#include "block/export/nbd-request.h"

#include "block/io.h"

#include <endian.h>
#include <errno.h>

enum nbd_head nbd_request_decode(const struct nbd_buffer *in, struct nbd_request *request,
                                 size_t *missing)
{
    struct nbd_request_be be;
    size_t whole = sizeof(be);
    *missing = 0;
    if (nbd_buffer_length(in) < sizeof(be)) {
        *missing = whole - nbd_buffer_length(in);
        return NBD_HEAD_PARTIAL;
    }
    memcpy(&be, nbd_buffer_head(in), sizeof(be));
    if (be32toh(be.magic) != NBD_REQUEST_MAGIC)
        return NBD_HEAD_GARBAGE;
    *request = (struct nbd_request){
        .flags = be16toh(be.flags),
        .type = be16toh(be.type),
        .cookie_be = be.cookie,
        .offset = be64toh(be.offset),
        .length = be32toh(be.length),
    };
    if (request->type == NBD_CMD_WRITE)
        request->payload_bytes = request->length;
    if (request->payload_bytes <= NBD_PAYLOAD_BYTES_MAX)
        whole += request->payload_bytes;
    if (nbd_buffer_length(in) >= whole)
        return NBD_HEAD_COMPLETE;
    *missing = whole - nbd_buffer_length(in);
    return NBD_HEAD_PARTIAL;
}

/* ---- checking ---- */

static bool request_changes_device(const struct nbd_request *request)
{
    return request->type == NBD_CMD_WRITE || request->type == NBD_CMD_TRIM ||
           request->type == NBD_CMD_WRITE_ZEROES;
}

int nbd_request_check(const struct nbd_session *session, const struct nbd_request *request)
{
    uint16_t known = NBD_CMD_FLAG_FUA; /* legal on every command */
    if (request->type == NBD_CMD_WRITE_ZEROES)
        known |= NBD_CMD_FLAG_NO_HOLE;
    if (request->flags & ~known)
        return -EINVAL;
    if (request->type == NBD_CMD_FLUSH)
        return request->offset == 0 && request->length == 0 ? 0 : -EINVAL;
    if (request->type != NBD_CMD_READ && !request_changes_device(request))
        return -EINVAL;
    if (request_changes_device(request) && device_is_read_only(session->device))
        return -EPERM;
    if (request->type == NBD_CMD_READ && request->length > NBD_PAYLOAD_BYTES_MAX)
        return -EINVAL;
    uint64_t size_bytes = device_size_bytes(session->device);
    if (request->offset <= size_bytes && request->length <= size_bytes - request->offset)
        return 0;
    return request->type == NBD_CMD_WRITE || request->type == NBD_CMD_WRITE_ZEROES ? -ENOSPC
                                                                                   : -EINVAL;
}

bool nbd_request_is_slow(const struct nbd_request *request)
{
    if (request->type == NBD_CMD_READ)
        return false;
    return request->type != NBD_CMD_WRITE || (request->flags & NBD_CMD_FLAG_FUA);
}

/* ---- replies ---- */

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

size_t nbd_request_reply_bytes(const struct nbd_session *session, const struct nbd_request *request)
{
    (void)session;
    size_t length = sizeof(struct nbd_simple_reply_be);
    return request && request->type == NBD_CMD_READ ? length + request->length : length;
}

size_t nbd_request_refuse(const struct nbd_session *session, const struct nbd_request *request,
                          int error, unsigned char *reply)
{
    (void)session;
    struct nbd_simple_reply_be be = {
        .magic = htobe32(NBD_SIMPLE_REPLY_MAGIC),
        .error = htobe32(error_from_errno(-error)),
        .cookie = request->cookie_be,
    };
    memcpy(reply, &be, sizeof(be));
    return sizeof(be);
}

/* ---- executing ---- */

static size_t request_read(const struct nbd_session *session, const struct nbd_request *request,
                           unsigned char *reply, bool cached)
{
    unsigned char *data = reply + sizeof(struct nbd_simple_reply_be);
    int ret = cached ? device_read_cached(session->device, data, request->offset, request->length)
                     : device_read(session->device, data, request->offset, request->length);
    if (ret == -EAGAIN && cached)
        return 0;
    size_t length = nbd_request_refuse(session, request, ret, reply);
    return ret ? length : length + request->length;
}

static int request_change(struct device *device, const struct nbd_request *request,
                          const void *payload)
{
    unsigned flags = request->flags & NBD_CMD_FLAG_FUA ? IO_FUA : 0;
    if (request->flags & NBD_CMD_FLAG_NO_HOLE)
        flags |= IO_NO_HOLE;
    switch (request->type) {
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

size_t nbd_request_execute(const struct nbd_session *session, const struct nbd_request *request,
                           const void *payload, unsigned char *reply, bool cached)
{
    if (request->type == NBD_CMD_READ)
        return request_read(session, request, reply, cached);
    int ret = request_change(session->device, request, payload);
    return nbd_request_refuse(session, request, ret, reply);
}
