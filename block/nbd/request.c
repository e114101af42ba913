/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests. See nbd/request.h. Spec sections: "Request message", "Request types", "Command flags",
 * "Block size constraints".
 *
 * The payload of a WRITE is written from where it was received.
 *
 * A long request is executed in pieces, so that a server which stops does not wait for all of it:
 *
 *     WRITE_ZEROES, TRIM, CACHE    end at the next piece once the server stops
 *     WRITE, READ (nbd/read.c)     were received whole, and are finished if they are done in time
 *
 * What was not executed is not acknowledged: the client gets ESHUTDOWN, or no reply at all.
 */
#include "block/nbd/request.h"

#include "block/io.h"
#include "block/nbd/read.h"
#include "block/nbd/reply.h"
#include "block/nbd/status.h"

#include <endian.h>
#include <errno.h>

size_t nbd_request_header_bytes(const struct nbd_session *session)
{
    return session->style == NBD_STYLE_EXTENDED ? sizeof(struct nbd_extended_request_be)
                                                : sizeof(struct nbd_request_be);
}

/* The header, which is there whole, whichever of the two it is. False: it is none. */
static bool request_decode_header(const struct nbd_session *session, const unsigned char *head,
                                  struct nbd_request *request)
{
    bool extended = session->style == NBD_STYLE_EXTENDED;
    struct nbd_request_be be;
    uint64_t length_be = 0;
    memcpy(&be, head, sizeof(be)); /* up to the length they are the same */
    memcpy(&length_be, head + offsetof(struct nbd_request_be, length),
           extended ? sizeof(length_be) : 0);
    *request = (struct nbd_request){
        .flags = be16toh(be.flags),
        .type = be16toh(be.type),
        .cookie_be = be.cookie,
        .offset = be64toh(be.offset),
        .length = extended ? be64toh(length_be) : be32toh(be.length),
        .contexts = session->contexts,
    };
    bool has_payload =
        extended ? request->flags & NBD_CMD_FLAG_PAYLOAD_LEN : request->type == NBD_CMD_WRITE;
    request->payload_bytes = has_payload ? request->length : 0;
    return be32toh(be.magic) == (extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC);
}

enum nbd_head nbd_request_decode(const struct nbd_session *session, const struct nbd_buffer *in,
                                 struct nbd_request *request, size_t *missing)
{
    size_t whole = nbd_request_header_bytes(session), length = nbd_buffer_length(in);
    *missing = 0;
    if (length < whole) {
        *missing = whole - length;
        return NBD_HEAD_PARTIAL;
    }
    if (!request_decode_header(session, nbd_buffer_head(in), request))
        return NBD_HEAD_GARBAGE;
    if (request->payload_bytes <= NBD_PAYLOAD_BYTES_MAX)
        whole += request->payload_bytes;
    if (length >= whole)
        return NBD_HEAD_COMPLETE;
    *missing = whole - length;
    return NBD_HEAD_PARTIAL;
}

/* ---- checking ---- */

static bool request_changes_device(const struct nbd_request *request)
{
    return request->type == NBD_CMD_WRITE || request->type == NBD_CMD_TRIM ||
           request->type == NBD_CMD_WRITE_ZEROES;
}

/* The flags that this command may have in this session; FUA is legal on every command. */
static unsigned request_known_flags(const struct nbd_session *session,
                                    const struct nbd_request *request)
{
    const unsigned payload =
        session->style == NBD_STYLE_EXTENDED ? (unsigned)NBD_CMD_FLAG_PAYLOAD_LEN : 0;
    switch (request->type) {
    case NBD_CMD_READ:
        return NBD_CMD_FLAG_FUA | (session->style == NBD_STYLE_SIMPLE ? 0 : NBD_CMD_FLAG_DF);
    case NBD_CMD_WRITE:
        return NBD_CMD_FLAG_FUA | payload;
    case NBD_CMD_WRITE_ZEROES:
        return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO;
    case NBD_CMD_BLOCK_STATUS:
        return NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE | payload;
    default:
        return NBD_CMD_FLAG_FUA;
    }
}

/* What is particular to a command. */
static int request_check_command(const struct nbd_session *session, struct nbd_request *request,
                                 const unsigned char *payload)
{
    switch (request->type) {
    case NBD_CMD_READ:
        if (request->length <= NBD_PAYLOAD_BYTES_MAX)
            return 0;
        return request->flags & NBD_CMD_FLAG_DF ? -EOVERFLOW : -EINVAL;
    case NBD_CMD_WRITE: /* extended headers: a WRITE without PAYLOAD_LEN has no data */
        return request->payload_bytes == request->length ? 0 : -EINVAL;
    case NBD_CMD_FLUSH:
        return request->offset == 0 && request->length == 0 ? 0 : -EINVAL;
    case NBD_CMD_TRIM:
    case NBD_CMD_CACHE:
    case NBD_CMD_WRITE_ZEROES:
        return 0;
    case NBD_CMD_BLOCK_STATUS:
        if (request->flags & NBD_CMD_FLAG_PAYLOAD_LEN) {
            int ret = nbd_status_decode(session, request, payload);
            if (ret)
                return ret;
        }
        return request->contexts && request->length ? 0 : -EINVAL;
    default:
        return -EINVAL;
    }
}

int nbd_request_check(const struct nbd_session *session, struct nbd_request *request,
                      const unsigned char *payload)
{
    if (request->flags & ~request_known_flags(session, request))
        return -EINVAL;
    if (request_changes_device(request) && device_is_read_only(session->device))
        return -EPERM;
    int ret = request_check_command(session, request, payload);
    if (ret)
        return ret;
    uint64_t size_bytes = session->size_bytes;
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

/* ---- executing ---- */

size_t nbd_request_reply_bytes(const struct nbd_session *session, const struct nbd_request *request)
{
    if (request && request->type == NBD_CMD_READ)
        return nbd_read_reply_bytes(session, request);
    if (request && request->type == NBD_CMD_BLOCK_STATUS)
        return nbd_status_reply_bytes(request);
    return NBD_CHUNK_BYTES_MAX;
}

static unsigned request_flags(const struct nbd_request *request)
{
    unsigned flags = request->flags & NBD_CMD_FLAG_FUA ? IO_FUA : 0;
    if (request->flags & NBD_CMD_FLAG_NO_HOLE)
        flags |= IO_NO_HOLE;
    if (request->flags & NBD_CMD_FLAG_FAST_ZERO)
        flags |= IO_FAST;
    return flags;
}

static int request_change(struct device *device, const struct nbd_request *request,
                          const void *payload, bool cached)
{
    unsigned flags = request_flags(request);
    switch (request->type) {
    case NBD_CMD_WRITE:
        if (cached)
            return device_write_cached(device, payload, request->offset, request->length);
        return device_write(device, payload, request->offset, request->length, flags);
    case NBD_CMD_FLUSH:
        return device_flush(device);
    case NBD_CMD_TRIM:
        return device_discard(device, request->offset, request->length, flags);
    case NBD_CMD_CACHE:
        return device_prefetch(device, request->offset, request->length);
    case NBD_CMD_WRITE_ZEROES:
        return device_zero(device, request->offset, request->length, flags);
    default:
        return -EINVAL;
    }
}

/* Counts it, too. */
static int request_run(struct device *device, const struct nbd_request *request,
                       const void *payload, bool cached)
{
    int ret = request_change(device, request, payload, cached);
    if (ret == 0 && request_changes_device(request))
        device_count(device,
                     request->type == NBD_CMD_WRITE  ? DEVICE_OP_WRITE
                     : request->type == NBD_CMD_TRIM ? DEVICE_OP_DISCARD
                                                     : DEVICE_OP_ZERO,
                     request->length);
    return ret;
}

/* How much of it is executed at a time. All are multiples of what a cluster can be. */
static uint64_t request_piece_bytes(const struct nbd_request *request)
{
    switch (request->type) {
    case NBD_CMD_TRIM:
    case NBD_CMD_WRITE_ZEROES:
        return 64 << 20;
    case NBD_CMD_WRITE:
    case NBD_CMD_CACHE:
        return 4 << 20;
    default:
        return UINT64_MAX;
    }
}

/* More of a CACHE would push out what is in memory with better reason. */
static uint64_t request_whole_bytes(const struct nbd_request *request)
{
    const uint64_t cache_bytes_max = 64 << 20;
    return request->type == NBD_CMD_CACHE && request->length > cache_bytes_max ? cache_bytes_max
                                                                               : request->length;
}

static bool request_must_end(const struct nbd_session *session, const struct nbd_request *request)
{
    return request->type == NBD_CMD_WRITE ? nbd_session_is_cut_off(session)
                                          : nbd_session_stops(session);
}

static int request_run_pieces(const struct nbd_session *session, const struct nbd_request *request,
                              const unsigned char *payload, uint64_t piece_bytes)
{
    struct nbd_request piece = *request;
    uint64_t left = request_whole_bytes(request);
    int ret = 0;
    piece.flags &= (uint16_t)~NBD_CMD_FLAG_FUA;
    while (left && ret == 0) {
        if (request_must_end(session, request))
            return -ESHUTDOWN;
        piece.length = piece_bytes - piece.offset % piece_bytes;
        if (piece.length > left)
            piece.length = left;
        ret = request_run(session->device, &piece, payload, false);
        piece.flags &=
            (uint16_t)~NBD_CMD_FLAG_FAST_ZERO; /* the first piece has said whether it is */
        piece.offset += piece.length;
        payload = payload ? payload + piece.length : NULL;
        left -= piece.length;
    }
    if (ret == 0 && (request->flags & NBD_CMD_FLAG_FUA))
        ret = device_flush(session->device);
    return ret;
}

int nbd_request_run(const struct nbd_session *session, const struct nbd_request *request,
                    const void *payload, bool cached)
{
    uint64_t piece_bytes = request_piece_bytes(request);
    int ret = request->length > piece_bytes && !cached
                  ? request_run_pieces(session, request, payload, piece_bytes)
                  : request_run(session->device, request, payload, cached);
    if (ret == -EOPNOTSUPP && !(request->flags & NBD_CMD_FLAG_FAST_ZERO))
        return -EIO; /* the protocol has ENOTSUP for fast zeroing only */
    return ret;
}

size_t nbd_request_execute(const struct nbd_session *session, const struct nbd_request *request,
                           const void *payload, unsigned char *reply, bool cached)
{
    if (nbd_session_is_cut_off(session))
        return nbd_reply_plain(session, request, -ESHUTDOWN, reply);
    if (request->type == NBD_CMD_READ)
        return nbd_read(session, request, reply, cached);
    if (request->type == NBD_CMD_BLOCK_STATUS)
        return nbd_status(session, request, reply);
    int ret = nbd_request_run(session, request, payload, cached);
    if (ret == -EAGAIN && cached)
        return 0;
    return nbd_reply_plain(session, request, ret, reply);
}
