/* SPDX-License-Identifier: Apache-2.0
 *
 * One budget of memory for the tables that formats keep of their images, all images of the process
 * together. Whoever loads a table beyond it has others evict first, those that were not used for
 * longest:
 *
 *     load a table --> table_memory_take --beyond the budget--> the hand goes from cache to cache:
 *                                 used since it came by last: spared once; else: evict
 *
 * T1. used_bytes is what was taken and not given back.
 * T2. A cache is asked to evict only between join and leave. Whoever asks may hold the lock of
 *     another cache, so evict() waits for nothing. No assert: it is the cache's lock.
 * T3. Beyond the budget is only what cannot be evicted: tables that are changed, and what is being
 *     loaded. No assert: caches whose lock is held are passed over.
 */
#ifndef BLOCK_IMAGE_TABLE_MEMORY_H
#define BLOCK_IMAGE_TABLE_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define TABLE_MEMORY_DEFAULT_BYTES (1ULL << 30)

/* A cache's place in the round. Belongs to the cache, which sets is_used. */
struct table_cache {
    struct table_cache *next, **link; /* NULL: it takes no part */
    void (*evict)(struct table_cache *cache);
    atomic_bool is_used; /* since the hand came by */
};

void table_memory_set(uint64_t budget_bytes);
void table_memory_get(uint64_t *used_bytes, uint64_t *budget_bytes);
bool table_memory_is_used_up(void);

/* `evict` gives back about half of what it can, if that waits for nothing; on any thread. */
void table_memory_join(struct table_cache *cache, void (*evict)(struct table_cache *cache));

/* Returns once nobody asks the cache any more. It may not have joined. */
void table_memory_leave(struct table_cache *cache);

/* Never refuses, and waits for nothing. */
void table_memory_take(uint64_t bytes);
void table_memory_give_back(uint64_t bytes);

#endif
