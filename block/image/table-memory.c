/* SPDX-License-Identifier: Apache-2.0
 *
 * See table-memory.h. The process's memory is one, so this is too.
 */
#include "block/image/table-memory.h"

#include "base/cleanup.h"

#include <assert.h>
#include <pthread.h>

enum { ROOM_PART = 16 }; /* so much of the budget is made free at a time */

static struct {
    atomic_uint_least64_t used_bytes, budget_bytes;
    pthread_mutex_t lock; /* of the round; taken last, but for locks that evict() tries */
    struct table_cache *caches, *hand;
    unsigned count;
} memory = {.budget_bytes = TABLE_MEMORY_DEFAULT_BYTES, .lock = PTHREAD_MUTEX_INITIALIZER};

void table_memory_get(uint64_t *used_bytes, uint64_t *budget_bytes)
{
    *used_bytes = atomic_load(&memory.used_bytes);
    *budget_bytes = atomic_load(&memory.budget_bytes);
}

static bool is_beyond(uint64_t bytes)
{
    return atomic_load_explicit(&memory.used_bytes, memory_order_relaxed) > bytes;
}

bool table_memory_is_used_up(void)
{
    return is_beyond(atomic_load_explicit(&memory.budget_bytes, memory_order_relaxed));
}

void table_memory_join(struct table_cache *cache, void (*evict)(struct table_cache *cache))
{
    LOCK_GUARD(&memory.lock);
    assert(!cache->link);
    cache->evict = evict;
    cache->next = memory.caches;
    cache->link = &memory.caches;
    if (cache->next)
        cache->next->link = &cache->next;
    memory.caches = cache;
    memory.count++;
}

void table_memory_leave(struct table_cache *cache)
{
    LOCK_GUARD(&memory.lock);
    if (!cache->link)
        return;
    if (memory.hand == cache)
        memory.hand = cache->next;
    *cache->link = cache->next;
    if (cache->next)
        cache->next->link = cache->link;
    cache->link = NULL;
    assert(memory.count > 0);
    memory.count--;
}

/* Ends once two rounds gave nothing: in the first, the hand may only find that all were used. */
static void evict_locked(void)
{
    uint64_t budget = atomic_load(&memory.budget_bytes);
    uint64_t wanted = budget - budget / ROOM_PART;
    for (unsigned vain = 0; vain < 2 * memory.count && is_beyond(wanted); vain++) {
        struct table_cache *cache = memory.hand ? memory.hand : memory.caches;
        assert(cache && cache->link); /* T2 */
        memory.hand = cache->next;
        if (atomic_exchange(&cache->is_used, false))
            continue;
        uint64_t before = atomic_load(&memory.used_bytes);
        cache->evict(cache);
        if (atomic_load(&memory.used_bytes) < before)
            vain = 0;
    }
}

void table_memory_take(uint64_t bytes)
{
    atomic_fetch_add(&memory.used_bytes, bytes);
    if (!table_memory_is_used_up() || pthread_mutex_trylock(&memory.lock) != 0)
        return; /* there is room, or somebody makes it */
    evict_locked();
    pthread_mutex_unlock(&memory.lock);
}

void table_memory_give_back(uint64_t bytes)
{
    uint64_t used_bytes = atomic_fetch_sub(&memory.used_bytes, bytes);
    assert(used_bytes >= bytes); /* T1 */
    (void)used_bytes;
}

void table_memory_set(uint64_t budget_bytes)
{
    atomic_store(&memory.budget_bytes, budget_bytes);
    LOCK_GUARD(&memory.lock);
    evict_locked();
}
