/* SPDX-License-Identifier: Apache-2.0
 *
 * What replies look like on the wire, in each style. Memory only, any thread. All functions write
 * to where they are told and return what follows what they have written.
 */
#ifndef BLOCK_NBD_REPLY_H
#define BLOCK_NBD_REPLY_H

#include "block/nbd/messages.h"
#include "block/nbd/session.h"

/* What any chunk takes beside the data that it is about. */
#define NBD_CHUNK_BYTES_MAX (sizeof(struct nbd_extended_chunk_be) + 16)

/* A reply of chunks under construction. Its last chunk is told so by nbd_chunks_end(). */
struct nbd_chunks {
    const struct nbd_session *session;
    const struct nbd_request *request;
    unsigned char *start, *at; /* `at`: where the next chunk begins */
    unsigned char *last;       /* the chunk before it, or NULL */
};

static inline unsigned char *nbd_put_be(unsigned char *at, unsigned width, uint64_t value)
{
    for (unsigned i = width; i-- > 0; value >>= 8)
        at[i] = (unsigned char)value;
    return at + width;
}

size_t nbd_chunk_header_bytes(const struct nbd_session *session);

/* Writes a chunk's header for a payload of `length` bytes and moves on past both; returns where the
 * payload is to be written. */
unsigned char *nbd_chunk_add(struct nbd_chunks *chunks, enum nbd_reply_type type, size_t length);

void nbd_chunk_add_hole(struct nbd_chunks *chunks, uint64_t offset, uint32_t length);

/* `error` is a -errno; `offset` where it happened. */
void nbd_chunk_add_error_at(struct nbd_chunks *chunks, int error, uint64_t offset);

/* Returns the reply's length. */
size_t nbd_chunks_end(struct nbd_chunks *chunks);

/* A reply without data, whole; `error` is 0 or a -errno. Returns its length. */
size_t nbd_reply_plain(const struct nbd_session *session, const struct nbd_request *request,
                       int error, unsigned char *reply);

#endif
