/* SPDX-License-Identifier: Apache-2.0
 *
 * Buffers. See buffer.h.
 */
#include "block/nbd/buffer.h"

#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

/* Memory that an idle buffer keeps, as long as the budget is plenty: one 2 MiB request (what QEMU's
 * tools send) and its neighbours. */
#define BUFFER_KEEP_BYTES ((size_t)(2 << 20) + (64 << 10))

int nbd_buffer_open(struct nbd_buffer *buffer, struct nbd_budget *budget)
{
    void *bytes = mmap(NULL, NBD_BUFFER_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    *buffer = (struct nbd_buffer){.bytes = bytes, .granted = NBD_OWN_BYTES, .budget = budget};
    return 0;
}

void nbd_buffer_close(struct nbd_buffer *buffer)
{
    if (!buffer->bytes)
        return;
    munmap(buffer->bytes, NBD_BUFFER_BYTES);
    nbd_budget_lower(buffer->budget, &buffer->granted, 0);
    buffer->bytes = NULL;
}

static void buffer_assert_state(const struct nbd_buffer *buffer)
{
    (void)buffer;                                                           /* NDEBUG */
    assert(buffer->start <= buffer->end && buffer->end <= buffer->granted); /* B1 */
    assert(buffer->granted <= NBD_BUFFER_BYTES);                            /* B1 */
    assert(buffer->end <= buffer->touched);                                 /* B2 */
}

unsigned char *nbd_buffer_space(struct nbd_buffer *buffer, size_t length)
{
    assert(length <= nbd_buffer_room(buffer));
    if (buffer->touched < buffer->end + length)
        buffer->touched = buffer->end + length;
    return buffer->bytes + buffer->end;
}

void nbd_buffer_extend(struct nbd_buffer *buffer, size_t length)
{
    assert(length <= nbd_buffer_room(buffer));
    buffer->end += length;
    if (buffer->touched < buffer->end)
        buffer->touched = buffer->end;
    buffer_assert_state(buffer);
}

void nbd_buffer_append(struct nbd_buffer *buffer, const void *data, size_t length)
{
    assert(length <= nbd_buffer_room(buffer));
    memcpy(buffer->bytes + buffer->end, data, length);
    nbd_buffer_extend(buffer, length);
}

/* The buffer is empty. */
static void buffer_give_back(struct nbd_buffer *buffer)
{
    size_t keep = nbd_budget_is_plenty(buffer->budget) ? BUFFER_KEEP_BYTES : NBD_OWN_BYTES;
    if (buffer->touched > keep) {
        /* Its failure would cost memory only. */
        madvise(buffer->bytes + keep, NBD_BUFFER_BYTES - keep, MADV_DONTNEED);
        buffer->touched = keep;
    }
    nbd_budget_lower(buffer->budget, &buffer->granted, keep);
}

void nbd_buffer_consume(struct nbd_buffer *buffer, size_t length)
{
    assert(length <= nbd_buffer_length(buffer));
    buffer_assert_state(buffer);
    buffer->start += length;
    if (buffer->start < buffer->end)
        return;
    buffer->start = buffer->end = 0;
    if (buffer->granted > NBD_OWN_BYTES)
        buffer_give_back(buffer);
}

void nbd_buffer_compact(struct nbd_buffer *buffer)
{
    size_t length = nbd_buffer_length(buffer);
    if (buffer->start == 0)
        return;
    memmove(buffer->bytes, buffer->bytes + buffer->start, length);
    buffer->start = 0;
    buffer->end = length;
}
