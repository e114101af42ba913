/* SPDX-License-Identifier: Apache-2.0
 *
 * See memory.h. What is counted guards nothing, so no order is needed.
 */
#include "service/memory.h"

int memory_take(struct memory_share *share, size_t bytes, struct err *err)
{
    atomic_size_t *taken = &share->memory->taken_bytes;
    size_t before = atomic_load_explicit(taken, memory_order_relaxed);
    do {
        size_t others = before - share->bytes;
        if (bytes > share->bytes &&
            (others > MEMORY_BYTES_MAX || bytes > MEMORY_BYTES_MAX - others))
            return err_set(err, ErrOutOfResources, 0,
                           "other requests have all the memory that is for requests; try again");
    } while (!atomic_compare_exchange_weak_explicit(taken, &before, before - share->bytes + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    share->bytes = bytes;
    return 0;
}

void memory_release(struct memory_share *share)
{
    if (share->memory)
        atomic_fetch_sub_explicit(&share->memory->taken_bytes, share->bytes, memory_order_relaxed);
    share->bytes = 0;
}
