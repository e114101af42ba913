/* SPDX-License-Identifier: Apache-2.0
 *
 * Slices of L2 tables and refcount blocks: a hash table by file offset, and all of them in order of last use.
 *
 * A clean slice may be forgotten at any time; a dirty one, or one that a flush has copied but not yet written,
 * stays. What is read of a frozen image is kept by the device's index, so its slices can be few, from the moment it
 * is frozen. So memory is bounded by CACHE_SLICES_MAX slices of each top plus what writers make dirty before they are
 * made to flush (qcow2/flusher.c), and CACHE_SLICES_FROZEN_MAX of each image below. All calls but qcow2_freeze() hold
 * the image's lock.
 */
#include "block/format/qcow2/cache.h"

enum {
    CACHE_SLICES_MAX = 4096,
    CACHE_BUCKETS = 4096,
};

int qcow2_cache_init(struct qcow2_cache *cache, uint32_t slice_bytes)
{
    cache->slice_bytes = slice_bytes;
    cache->buckets = calloc(CACHE_BUCKETS, sizeof(*cache->buckets));
    return cache->buckets ? 0 : -ENOMEM;
}

static struct qcow2_slice **cache_bucket(const struct qcow2_cache *cache, uint64_t offset)
{
    return &cache->buckets[(offset / cache->slice_bytes * 0x9e3779b97f4a7c15ULL >> 32) %
                           CACHE_BUCKETS];
}

static void cache_unlink_use(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
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

static void cache_remove(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
    struct qcow2_slice **place = cache_bucket(cache, slice->offset);
    while (*place != slice)
        place = &(*place)->hash_next;
    *place = slice->hash_next;
    cache_unlink_use(cache, slice);
    cache->count--;
    cache->dirty_count -= slice->is_dirty;
    free(slice->bytes);
    free(slice);
}

void qcow2_cache_free(struct qcow2_cache *cache)
{
    while (cache->oldest)
        cache_remove(cache, cache->oldest);
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

static struct qcow2_slice *cache_find(struct qcow2 *q, uint64_t offset)
{
    struct qcow2_cache *cache = &q->cache;
    offset -= offset % cache->slice_bytes;
    struct qcow2_slice *found = *cache_bucket(cache, offset);
    while (found && found->offset != offset)
        found = found->hash_next;
    if (found && found != cache->newest) {
        cache_unlink_use(cache, found);
        cache_link_use(cache, found);
    }
    return found;
}

int qcow2_cache_get(struct qcow2 *q, uint64_t offset, bool is_refcount, struct qcow2_slice **slice)
{
    struct qcow2_cache *cache = &q->cache;
    *slice = cache_find(q, offset);
    if (*slice)
        return 0;
    if (q->is_nonblocking)
        return -EAGAIN;
    offset -= offset % cache->slice_bytes;
    qcow2_cache_shrink(cache, atomic_load(&q->node->read_only) ? QCOW2_CACHE_SLICES_FROZEN_MAX
                                                               : CACHE_SLICES_MAX);
    struct qcow2_slice **bucket = cache_bucket(cache, offset), *found = calloc(1, sizeof(*found));
    unsigned char *bytes = malloc(cache->slice_bytes);
    if (!found || !bytes) {
        free(found);
        free(bytes);
        return -ENOMEM;
    }
    found->offset = offset;
    found->is_refcount = is_refcount;
    found->bytes = bytes;
    int ret = file_read_padded(q->fd, bytes, offset, cache->slice_bytes);
    if (ret) {
        free(bytes);
        free(found);
        return ret;
    }
    found->hash_next = *bucket;
    *bucket = found;
    cache_link_use(cache, found);
    cache->count++;
    *slice = found;
    return 0;
}

void qcow2_cache_dirty(struct qcow2_cache *cache, struct qcow2_slice *slice)
{
    cache->dirty_count += !slice->is_dirty;
    slice->is_dirty = true;
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
