/* SPDX-License-Identifier: Apache-2.0
 *
 * The input and output buffers of a connection; for one thread at a time.
 *
 * A buffer is one anonymous mapping, large enough for the largest request or reply. Only the part
 * that was used takes memory, and only the part that was granted may be used:
 *
 *      0        start            end                granted             NBD_BUFFER_BYTES
 *      |--------|################|------------------|-------------------|
 *               received, not    free: the next recv() or
 *               yet executed     the next reply goes here
 *
 * So a payload of any size is received, and the data of any READ sent, without one more copy.
 *
 *   B1  start <= end <= granted <= NBD_BUFFER_BYTES
 *   B2  end <= touched
 */
#ifndef BLOCK_NBD_BUFFER_H
#define BLOCK_NBD_BUFFER_H

#include "block/nbd/budget.h"
#include "block/nbd/protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

#endif
