/* SPDX-License-Identifier: Apache-2.0
 *
 * Slices of L2 tables and refcount blocks: a hash table by file offset, and a list by last use.
 *
 *   C1  Every slice is in its bucket and in the list; `count` is their number.
 *   C2  `dirty_count` is the number of dirty slices.
 *   C3  Only a clean slice is evicted: a dirty one holds changes that are not in the file, one that
 *       is flushing is referenced by a batch (flush.c).
 *
 * Memory is bounded by the budget of all images (table-memory.h), and by CACHE_SLICES_MAX slices of
 * each top plus the slices that writers make dirty before they must flush (flusher.c), and
 * QCOW2_CACHE_SLICES_FROZEN_MAX of each frozen image: the device's index keeps what was read from
 * those.
 */
#include "block/format/qcow2/cache.h"

#include "block/format/qcow2/tables.h"

enum { CACHE_SLICES_MAX = 4096, CACHE_BUCKETS_MIN = 16, CACHE_BUCKETS_MAX = CACHE_SLICES_MAX };

int qcow2_cache_init(struct qcow2_cache *cache, uint32_t slice_bytes)
{
    cache->slice_bytes = slice_bytes;
    cache->bucket_count = CACHE_BUCKETS_MIN;
    cache->buckets = calloc(cache->bucket_count, sizeof(*cache->buckets));
    return cache->buckets ? 0 : -ENOMEM;
}

static struct qcow2_slice **cache_bucket(const struct qcow2_cache *cache, uint64_t offset)
{
    return &cache->buckets[(offset / cache->slice_bytes * 0x9e3779b97f4a7c15ULL >> 32) &
                           (cache->bucket_count - 1)];
}

/* Without memory for other buckets they stay as they are. */
static void cache_resize(struct qcow2_cache *cache, size_t count)
{
    struct qcow2_slice **buckets = calloc(count, sizeof(*buckets));
    if (!buckets)
        return;
    free(cache->buckets);
    cache->buckets = buckets;
    cache->bucket_count = count;
    for (struct qcow2_slice *slice = cache->oldest; slice; slice = slice->newer) {
        struct qcow2_slice **bucket = cache_bucket(cache, slice->offset);
        slice->hash_next = *bucket;
        *bucket = slice;
    }
}

static void cache_unlink_use(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
    assert(slice->older ? slice->older->newer == slice : cache->oldest == slice); /* C1 */
    assert(slice->newer ? slice->newer->older == slice : cache->newest == slice); /* C1 */
    *(slice->older ? &slice->older->newer : &cache->oldest) = slice->newer;
    *(slice->newer ? &slice->newer->older : &cache->newest) = slice->older;
}

static void cache_link_use(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
    slice->older = cache->newest;
    slice->newer = NULL;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = slice;
    cache->newest = slice;
}

static uint64_t slice_memory(const struct qcow2_cache *cache)
{
    return sizeof(struct qcow2_slice) + cache->slice_bytes;
}

static void cache_remove(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
    assert(!slice->is_flushing && cache->count > 0); /* C3, C1 */
    assert(cache->dirty_count >= slice->is_dirty && cache->dirty_count <= cache->count); /* C2 */
    struct qcow2_slice **place = cache_bucket(cache, slice->offset);
    while (*place != slice)
        place = &(*place)->hash_next;
    *place = slice->hash_next;
    cache_unlink_use(cache, slice);
    cache->count--;
    cache->dirty_count -= slice->is_dirty;
    table_memory_give_back(slice_memory(cache));
    free(slice->bytes);
    free(slice);
}

void qcow2_cache_free(struct qcow2_cache *cache)
{
    while (cache->oldest)
        cache_remove(cache, cache->oldest);
    assert(cache->count == 0 && cache->dirty_count == 0); /* C1, C2 */
    free(cache->buckets);
}

void qcow2_cache_shrink(struct qcow2_cache *cache, size_t slices_max)
{
    struct qcow2_slice *slice = cache->oldest;
    while (slice && cache->count >= slices_max) {
        struct qcow2_slice *newer = slice->newer;
        if (!slice->is_dirty && !slice->is_flushing)
            cache_remove(cache, slice);
        slice = newer;
    }
}

void qcow2_cache_empty(struct qcow2_cache *cache)
{
    qcow2_cache_shrink(cache, 1);
    if (cache->count <= CACHE_BUCKETS_MIN && cache->bucket_count > CACHE_BUCKETS_MIN)
        cache_resize(cache, CACHE_BUCKETS_MIN);
}

/* Waits for no request: where one holds the lock, another cache has to do. */
static void cache_evict(struct table_cache *memory)
{
    struct qcow2 *q = (struct qcow2 *)((char *)memory - offsetof(struct qcow2, cache.memory));
    if (pthread_mutex_trylock(&q->lock) != 0)
        return;
    qcow2_cache_shrink(&q->cache, q->cache.count / 2 + 1);
    pthread_mutex_unlock(&q->lock);
}

void qcow2_cache_join(struct qcow2 *q)
{
    table_memory_join(&q->cache.memory, cache_evict);
}

void qcow2_cache_leave(struct qcow2_cache *cache)
{
    table_memory_leave(&cache->memory);
}

/* Returns the slice at `offset` and marks it used, or NULL. */
static struct qcow2_slice *cache_find(struct qcow2 *q, uint64_t offset)
{
    struct qcow2_cache *cache = &q->cache;
    struct qcow2_slice *found = *cache_bucket(cache, offset);
    while (found && found->offset != offset)
        found = found->hash_next;
    if (found && found != cache->newest) {
        cache_unlink_use(cache, found);
        cache_link_use(cache, found);
    }
    return found;
}

/* A hole is not read. Where a new table lies behind clusters that were written just now, the kernel
 * takes a read for part of a stream, and reads as far ahead as the disk allows: milliseconds. */
static int slice_read(const struct qcow2 *q, unsigned char *bytes, uint64_t offset)
{
    if (!qcow2_is_hole(q, offset, q->cache.slice_bytes))
        return file_read_padded(q->fd, bytes, offset, q->cache.slice_bytes);
    memset(bytes, 0, q->cache.slice_bytes);
    return 0;
}

/* Reads a slice that is not cached and adds it. 0 or -errno. */
static int slice_load(struct qcow2 *q, uint64_t offset, bool is_refcount,
                      struct qcow2_slice **slice)
{
    struct qcow2_cache *cache = &q->cache;
    CLEANUP_FREE unsigned char *bytes = malloc(cache->slice_bytes);
    struct qcow2_slice **bucket, *loaded;
    int ret = bytes ? slice_read(q, bytes, offset) : -ENOMEM;
    if (ret)
        return ret;
    loaded = malloc(sizeof(*loaded));
    if (!loaded)
        return -ENOMEM;
    if (cache->count >= cache->bucket_count && cache->bucket_count < CACHE_BUCKETS_MAX)
        cache_resize(cache, 2 * cache->bucket_count);
    bucket = cache_bucket(cache, offset);
    *loaded =
        (struct qcow2_slice){.hash_next = *bucket, .offset = offset, .is_refcount = is_refcount};
    loaded->bytes = steal(bytes);
    *bucket = loaded;
    cache_link_use(cache, loaded);
    cache->count++;
    *slice = loaded;
    table_memory_take(slice_memory(cache));
    return 0;
}

int qcow2_cache_get(struct qcow2 *q, uint64_t offset, bool is_refcount, struct qcow2_slice **slice)
{
    offset -= offset % q->cache.slice_bytes;
    *slice = cache_find(q, offset);
    if (!atomic_load_explicit(&q->cache.memory.is_used, memory_order_relaxed))
        atomic_store_explicit(&q->cache.memory.is_used, true, memory_order_relaxed);
    if (*slice)
        return 0;
    if (q->is_nonblocking)
        return -EAGAIN;
    size_t slices_max =
        atomic_load(&q->node->read_only) ? QCOW2_CACHE_SLICES_FROZEN_MAX : CACHE_SLICES_MAX;
    if (table_memory_is_used_up() && q->cache.count <= slices_max) /* others have nothing left */
        slices_max = q->cache.count / 2 + 1;
    qcow2_cache_shrink(&q->cache, slices_max);
    return slice_load(q, offset, is_refcount, slice);
}

void qcow2_cache_dirty(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
    cache->dirty_count += !slice->is_dirty;
    slice->is_dirty = true;
    assert(cache->dirty_count <= cache->count); /* C2 */
}

void qcow2_cache_drop(struct qcow2 *q, uint64_t cluster)
{
    uint64_t start = cluster << q->cluster_bits, end = start + q->cluster_bytes;
    for (uint64_t offset = start; offset < end; offset += q->cache.slice_bytes) {
        struct qcow2_slice *slice = *cache_bucket(&q->cache, offset);
        while (slice && slice->offset != offset)
            slice = slice->hash_next;
        if (slice)
            cache_remove(&q->cache, slice);
    }
}
