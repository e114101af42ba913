/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference counts of host clusters.
 *
 *     refcount table [cluster / per block] -> refcount block [cluster % per block] -> count
 *
 * A count has 1 to 64 bits.
 *
 *   R1  A count is changed only where a refcount block exists.
 *   R2  A count that is written fits its width.
 *   R3  Counts go up in memory at once. They go down only in release.c, after a flush has made the
 *       change that dropped the reference durable, or in qcow2_unallocate() for clusters that
 *       nothing references. No assert: the order is flush.c's (W4).
 */
#include "block/format/qcow2/refcount.h"

#include "block/format/qcow2/metadata.h"
#include "block/format/qcow2/space.h"

static uint64_t count_read(const unsigned char *bytes, uint64_t index, uint32_t order)
{
    if (order < 3) {
        unsigned bits = 1u << order, per_byte = 8 / bits;
        return bytes[index / per_byte] >> index % per_byte * bits & ((1u << bits) - 1);
    }
    uint64_t count = 0;
    for (uint64_t i = 0, width = 1u << (order - 3); i < width; i++)
        count = count << 8 | bytes[index * width + i];
    return count;
}

static void count_write(unsigned char *bytes, uint64_t index, uint32_t order, uint64_t count)
{
    if (order < 3) {
        unsigned bits = 1u << order, per_byte = 8 / bits, shift = index % per_byte * bits;
        unsigned mask = ((1u << bits) - 1) << shift;
        unsigned char *byte = &bytes[index / per_byte];
        *byte = (unsigned char)((*byte & ~mask) | (unsigned)count << shift);
        return;
    }
    for (uint64_t width = 1u << (order - 3), i = width; i-- > 0; count >>= 8)
        bytes[index * width + i] = (unsigned char)count;
}

/* Returns the slice that holds the cluster's count, and the count's index in it. The block
 * exists. */
static int count_slice(struct qcow2 *q, uint64_t cluster, struct qcow2_slice **slice,
                       uint64_t *index)
{
    assert(qcow2_refcount_has_block(q, cluster)); /* R1 */
    uint64_t block = q->refcount_table[cluster / qcow2_refcounts_per_block(q)];
    uint64_t per_slice = (uint64_t)q->cache.slice_bytes * 8 >> q->refcount_order;
    uint64_t in_block = cluster % qcow2_refcounts_per_block(q);
    *index = in_block % per_slice;
    return qcow2_cache_get(q, block + in_block / per_slice * q->cache.slice_bytes, true, slice);
}

int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
    struct qcow2_slice *slice;
    uint64_t index;
    *count = 0;
    if (!qcow2_refcount_has_block(q, cluster))
        return 0;
    int ret = count_slice(q, cluster, &slice, &index);
    if (ret == 0)
        *count = count_read(slice->bytes, index, q->refcount_order);
    return ret;
}

int qcow2_refcount_put(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    struct qcow2_slice *slice;
    uint64_t index;
    assert(qcow2_refcount_has_block(q, cluster));                            /* R1 */
    assert(q->refcount_order == 6 || !(count >> (1u << q->refcount_order))); /* R2 */
    int ret = qcow2_space_take(q, q->refcount_table[cluster / qcow2_refcounts_per_block(q)] >>
                                      q->cluster_bits);
    if (ret == 0)
        ret = count_slice(q, cluster, &slice, &index);
    if (ret)
        return ret;
    count_write(slice->bytes, index, q->refcount_order, count);
    qcow2_cache_dirty(&q->cache, slice);
    return 0;
}

int qcow2_refcount_run(struct qcow2 *q, uint64_t cluster, uint64_t limit, bool *is_free,
                       uint64_t *count)
{
    struct qcow2_slice *slice;
    uint64_t per_block = qcow2_refcounts_per_block(q), in_block = per_block - cluster % per_block;
    uint64_t index;
    assert(limit > 0);
    *is_free = true;
    *count = in_block < limit ? in_block : limit;
    if (!qcow2_refcount_has_block(q, cluster))
        return 0;
    int ret = count_slice(q, cluster, &slice, &index);
    if (ret)
        return ret;
    uint64_t end = (uint64_t)q->cache.slice_bytes * 8 >> q->refcount_order, at = index;
    if (end - index > limit)
        end = index + limit;
    *is_free = !count_read(slice->bytes, index, q->refcount_order);
    do
        at++;
    while (at < end && !count_read(slice->bytes, at, q->refcount_order) == *is_free);
    *count = at - index;
    assert(*count > 0 && *count <= limit);
    return 0;
}

int qcow2_refcount_drop(struct qcow2 *q, uint64_t cluster, uint64_t references)
{
    uint64_t count;
    assert(references > 0);
    int ret = qcow2_refcount_get(q, cluster, &count);
    if (ret)
        return ret;
    if (count < references)
        return qcow2_corrupt(q, "a cluster in use is counted as free", cluster << q->cluster_bits);
    ret = qcow2_refcount_put(q, cluster, count - references);
    if (ret || count != references)
        return ret;
    qcow2_cache_drop(q, cluster);
    if (qcow2_metadata_is_retired(q, cluster))
        qcow2_metadata_remove(q, cluster);
    if (q->free_hint > cluster)
        q->free_hint = cluster;
    if (q->run_hint > cluster)
        q->run_hint = cluster;
    return 0;
}
