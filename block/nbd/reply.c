/* SPDX-License-Identifier: Apache-2.0
 *
 * Replies on the wire. See nbd/reply.h. Spec sections: "Simple reply message", "Structured reply
 * chunk message", "Extended reply chunk message", "Error values".
 */
#include "block/nbd/reply.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

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
    case EMFILE:
    case ENFILE:
        return NBD_ENOMEM;
    case EOVERFLOW:
        return NBD_EOVERFLOW;
    case EOPNOTSUPP:
        return NBD_ENOTSUP;
    case ESHUTDOWN:
        return NBD_ESHUTDOWN;
    default:
        return NBD_EIO;
    }
}

size_t nbd_chunk_header_bytes(const struct nbd_session *session)
{
    return session->style == NBD_STYLE_EXTENDED ? sizeof(struct nbd_extended_chunk_be)
                                                : sizeof(struct nbd_chunk_be);
}

unsigned char *nbd_chunk_add(struct nbd_chunks *chunks, enum nbd_reply_type type, size_t length)
{
    struct nbd_extended_chunk_be extended = {
        .magic = htobe32(NBD_EXTENDED_CHUNK_MAGIC),
        .type = htobe16((uint16_t)type),
        .cookie = chunks->request->cookie_be,
        .offset = htobe64(chunks->request->offset),
        .length = htobe64(length),
    };
    struct nbd_chunk_be structured = {
        .magic = htobe32(NBD_CHUNK_MAGIC),
        .type = extended.type,
        .cookie = extended.cookie,
        .length = htobe32((uint32_t)length),
    };
    unsigned char *payload = chunks->at + nbd_chunk_header_bytes(chunks->session);
    if (chunks->session->style == NBD_STYLE_EXTENDED)
        memcpy(chunks->at, &extended, sizeof(extended));
    else
        memcpy(chunks->at, &structured, sizeof(structured));
    chunks->last = chunks->at;
    chunks->at = payload + length;
    return payload;
}

void nbd_chunk_add_hole(struct nbd_chunks *chunks, uint64_t offset, uint32_t length)
{
    unsigned char *at =
        nbd_chunk_add(chunks, NBD_REPLY_OFFSET_HOLE, sizeof(offset) + sizeof(length));
    nbd_put_be(nbd_put_be(at, 8, offset), 4, length);
}

/* Both kinds of errors without a message: the number says it all. */
static unsigned char *chunk_add_error(struct nbd_chunks *chunks, enum nbd_reply_type type,
                                      size_t more, int error)
{
    unsigned char *at = nbd_chunk_add(chunks, type, 6 + more);
    return nbd_put_be(nbd_put_be(at, 4, error_from_errno(-error)), 2, 0);
}

void nbd_chunk_add_error_at(struct nbd_chunks *chunks, int error, uint64_t offset)
{
    nbd_put_be(chunk_add_error(chunks, NBD_REPLY_ERROR_OFFSET, 8, error), 8, offset);
}

size_t nbd_chunks_end(struct nbd_chunks *chunks)
{
    nbd_put_be(chunks->last + offsetof(struct nbd_chunk_be, flags), 2, NBD_REPLY_FLAG_DONE);
    return (size_t)(chunks->at - chunks->start);
}

size_t nbd_reply_plain(const struct nbd_session *session, const struct nbd_request *request,
                       int error, unsigned char *reply)
{
    struct nbd_chunks chunks = {session, request, reply, reply, NULL};
    struct nbd_simple_reply_be simple = {
        .magic = htobe32(NBD_SIMPLE_REPLY_MAGIC),
        .error = htobe32(error_from_errno(-error)),
        .cookie = request->cookie_be,
    };
    if (session->style == NBD_STYLE_SIMPLE) {
        memcpy(reply, &simple, sizeof(simple));
        return sizeof(simple);
    }
    if (error)
        chunk_add_error(&chunks, NBD_REPLY_ERROR, 0, error);
    else
        nbd_chunk_add(&chunks, NBD_REPLY_NONE, 0);
    return nbd_chunks_end(&chunks);
}
