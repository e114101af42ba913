/* SPDX-License-Identifier: Apache-2.0
 *
 * READ. Spec sections: "NBD_CMD_READ", "Structured reply types".
 *
 * The data are read to where they are sent from. With structured or extended replies, a large read
 * that waits for a disk anyway first asks what is there, and holes are told, not sent:
 *
 *     offset                                            offset + length
 *       |-- data --|------ hole ------|-- data, a short hole, data --|
 *       OFFSET_DATA  OFFSET_HOLE         OFFSET_DATA
 *
 * A hole that is told is longer than what it adds to the reply, so the reply is never longer than
 * that of one OFFSET_DATA. After an error the chunks before it stay: they are right.
 *
 * A read in pieces has a chunk for each, which DF forbids; the protocol has EOVERFLOW for that. A
 * simple reply tells of success before all was read: an error after that ends the connection.
 */
#include "block/nbd/read.h"

#include "block/io.h"
#include "block/nbd/reply.h"

#include <endian.h>
#include <errno.h>

enum {
    MAPPED_BYTES_MIN = 64 << 10, /* of a read that is worth a look at the map */
    HOLE_BYTES_MIN = 4096,       /* a shorter hole is sent as zeros */
    OFFSET_BYTES = 8,
    RUN_BYTES = 2 << 20, /* that are read before anybody looks whether the server stops */
};

size_t nbd_read_reply_bytes(const struct nbd_session *session, const struct nbd_request *request)
{
    if (session->style == NBD_STYLE_SIMPLE)
        return sizeof(struct nbd_simple_reply_be) + request->length;
    return 2 * NBD_CHUNK_BYTES_MAX + request->length; /* an error may follow the data */
}

size_t nbd_read_data_offset(const struct nbd_session *session)
{
    return session->style == NBD_STYLE_SIMPLE ? sizeof(struct nbd_simple_reply_be)
                                              : nbd_chunk_header_bytes(session) + OFFSET_BYTES;
}

/* A long read that waits for a disk ends between two pieces if the server's time is up. */
static int read_data(const struct nbd_session *session, void *buf, uint64_t offset, uint64_t length,
                     bool cached)
{
    int ret = 0;
    if (cached)
        return device_read_cached(session->device, buf, offset, length);
    for (uint64_t done = 0, n; done < length && ret == 0; done += n) {
        n = length - done < RUN_BYTES ? length - done : RUN_BYTES;
        if (done && nbd_session_is_cut_off(session))
            return -ESHUTDOWN;
        ret = device_read(session->device, (unsigned char *)buf + done, offset + done, n);
    }
    return ret;
}

static size_t read_simple(const struct nbd_session *session, const struct nbd_request *request,
                          unsigned char *reply, bool cached)
{
    unsigned char *data = reply + sizeof(struct nbd_simple_reply_be);
    int ret = read_data(session, data, request->offset, request->length, cached);
    if (ret == -EAGAIN && cached)
        return 0;
    size_t length = nbd_reply_plain(session, request, ret, reply);
    if (ret)
        return length;
    device_count(session->device, DEVICE_OP_READ, request->length);
    return length + request->length;
}

/* Adds the data of a range. The chunk exists only if they could be read. */
static int read_add_data(struct nbd_chunks *chunks, uint64_t offset, uint64_t length, bool cached)
{
    unsigned char *data = chunks->at + nbd_read_data_offset(chunks->session);
    if (length == 0)
        return 0;
    int ret = read_data(chunks->session, data, offset, length, cached);
    if (ret)
        return ret;
    unsigned char *at = nbd_chunk_add(chunks, NBD_REPLY_OFFSET_DATA, OFFSET_BYTES + length);
    nbd_put_be(at, OFFSET_BYTES, offset);
    return 0;
}

/* Adds data and holes from *offset on; on an error *offset tells where. */
static int read_add_extents(struct nbd_chunks *chunks, uint64_t *offset)
{
    const struct nbd_request *request = chunks->request;
    uint64_t end = request->offset + request->length, at = *offset;
    while (at < end) {
        struct device_extent extent = {.length = end - at};
        int ret = nbd_session_is_cut_off(chunks->session)
                      ? -ESHUTDOWN
                      : device_map(chunks->session->device, at, &extent);
        if (!ret && extent.is_zero && extent.length >= HOLE_BYTES_MIN) {
            ret = read_add_data(chunks, *offset, at - *offset, false);
            if (!ret) {
                nbd_chunk_add_hole(chunks, at, (uint32_t)extent.length);
                *offset = at + extent.length;
            }
        }
        if (ret)
            return ret;
        at += extent.length;
    }
    return read_add_data(chunks, *offset, end - *offset, false);
}

size_t nbd_read(const struct nbd_session *session, const struct nbd_request *request,
                unsigned char *reply, bool cached)
{
    struct nbd_chunks chunks = {session, request, reply, reply, NULL};
    if (session->style == NBD_STYLE_SIMPLE)
        return read_simple(session, request, reply, cached);
    if (request->length == 0)
        return nbd_reply_plain(session, request, 0, reply);
    bool whole = cached || (request->flags & NBD_CMD_FLAG_DF) || request->length < MAPPED_BYTES_MIN;
    uint64_t offset = request->offset;
    int ret = whole ? read_add_data(&chunks, offset, request->length, cached)
                    : read_add_extents(&chunks, &offset);
    if (ret == -EAGAIN && cached)
        return 0;
    if (ret && !chunks.last)
        return nbd_reply_plain(session, request, ret, reply);
    if (ret)
        nbd_chunk_add_error_at(&chunks, ret, offset);
    else
        device_count(session->device, DEVICE_OP_READ, request->length);
    return nbd_chunks_end(&chunks);
}

/* ---- in pieces ---- */

static size_t read_simple_piece(const struct nbd_session *session,
                                const struct nbd_request *request, uint64_t *done, uint64_t length,
                                unsigned char *reply)
{
    bool first = *done == 0;
    unsigned char *data = reply + (first ? sizeof(struct nbd_simple_reply_be) : 0);
    int ret = read_data(session, data, request->offset + *done, length, false);
    if (ret == 0)
        device_count(session->device, DEVICE_OP_READ, length);
    *done = ret ? request->length : *done + length;
    if (ret && !first)
        return 0; /* a success was told already */
    size_t header = first ? nbd_reply_plain(session, request, ret, reply) : 0;
    return ret ? header : header + length;
}

size_t nbd_read_piece(const struct nbd_session *session, const struct nbd_request *request,
                      uint64_t *done, unsigned char *reply)
{
    struct nbd_chunks chunks = {session, request, reply, reply, NULL};
    uint64_t left = request->length - *done, offset = request->offset + *done;
    uint64_t length = left < NBD_PIECE_BYTES ? left : NBD_PIECE_BYTES;
    if (session->style == NBD_STYLE_SIMPLE)
        return read_simple_piece(session, request, done, length, reply);
    bool whole = request->flags & NBD_CMD_FLAG_DF;
    int ret = whole ? -EOVERFLOW : read_add_data(&chunks, offset, length, false);
    *done = ret ? request->length : *done + length;
    if (whole)
        return nbd_reply_plain(session, request, ret, reply);
    if (ret)
        nbd_chunk_add_error_at(&chunks, ret, offset);
    else
        device_count(session->device, DEVICE_OP_READ, length);
    return *done == request->length ? nbd_chunks_end(&chunks) : (size_t)(chunks.at - chunks.start);
}
