/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference counts of host clusters, allocation, and the set of clusters that hold metadata.
 *
 *     refcount table [cluster / per_block] -> refcount block [cluster % per_block] -> count, 1 to 64 bits wide
 *
 * Counts go up in memory at once. They go down only when a flush has put the change that dropped the
 * reference on the disk (qcow2/release.c): until then the cluster is not free for anybody.
 *
 * The file grows ahead of its use, by a quarter of itself and at most GROW_BYTES_MAX at a time: what is added is a
 * hole, and a write that need not move the file's end costs the kernel less.
 *
 * A new refcount block takes the lowest free cluster; it is often the one that counts itself. All calls hold the
 * image's lock.
 */
#include "block/format/qcow2/qcow2.h"

#include "base/log.h"

#include <unistd.h>

enum { GROW_BYTES_MAX = 64 << 20 };

/* ---- counts ---- */

static uint64_t per_block(const struct qcow2 *q)
{
    return q->cluster_bytes * 8 >> q->refcount_order;
}

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

/* The slice that has the cluster's count, and the count's index in it. The block exists. */
static int count_slice(struct qcow2 *q, uint64_t cluster, struct qcow2_slice **slice,
                       uint64_t *index)
{
    uint64_t block = q->refcount_table[cluster / per_block(q)];
    uint64_t per_slice = (uint64_t)q->cache.slice_bytes * 8 >> q->refcount_order;
    uint64_t in_block = cluster % per_block(q);
    *index = in_block % per_slice;
    return qcow2_cache_get(q, block + in_block / per_slice * q->cache.slice_bytes, true, slice);
}

static bool has_block(const struct qcow2 *q, uint64_t cluster)
{
    uint64_t block = cluster / per_block(q);
    return block < q->refcount_table_entries && q->refcount_table[block];
}

int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
    struct qcow2_slice *slice;
    uint64_t index;
    *count = 0;
    if (!has_block(q, cluster))
        return 0;
    int ret = count_slice(q, cluster, &slice, &index);
    if (ret == 0)
        *count = count_read(slice->bytes, index, q->refcount_order);
    return ret;
}

static int refcount_put(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    struct qcow2_slice *slice;
    uint64_t index;
    int ret = qcow2_space_take(q, q->refcount_table[cluster / per_block(q)] >> q->cluster_bits);
    if (ret == 0)
        ret = count_slice(q, cluster, &slice, &index);
    if (ret)
        return ret;
    count_write(slice->bytes, index, q->refcount_order, count);
    qcow2_cache_dirty(&q->cache, slice);
    return 0;
}

/* ---- metadata clusters ---- */

/* `cluster` without flags. */
static uint64_t *metadata_place(const struct qcow2_metadata *metadata, uint64_t cluster)
{
    uint64_t at = (cluster * 0x9e3779b97f4a7c15ULL >> 20) % metadata->room;
    while (metadata->clusters[at] && (metadata->clusters[at] & ~QCOW2_METADATA_FLAGS) != cluster)
        at = (at + 1) % metadata->room;
    return &metadata->clusters[at];
}

static int metadata_grow(struct qcow2_metadata *metadata)
{
    struct qcow2_metadata bigger = {.room = metadata->room ? metadata->room * 2 : 64};
    bigger.clusters = calloc(bigger.room, sizeof(*bigger.clusters));
    if (!bigger.clusters)
        return -ENOMEM;
    for (size_t i = 0; i < metadata->room; i++)
        if (metadata->clusters[i])
            *metadata_place(&bigger, metadata->clusters[i] & ~QCOW2_METADATA_FLAGS) =
                metadata->clusters[i];
    bigger.count = metadata->count;
    free(metadata->clusters);
    *metadata = bigger;
    return 0;
}

int qcow2_metadata_add(struct qcow2 *q, uint64_t cluster)
{
    struct qcow2_metadata *metadata = &q->metadata;
    if (cluster == 0)
        return 0;
    if (metadata->count * 2 >= metadata->room) {
        int ret = metadata_grow(metadata);
        if (ret)
            return ret;
    }
    uint64_t *place = metadata_place(metadata, cluster);
    metadata->count += !*place;
    *place = cluster;
    return 0;
}

/* Takes one out; those that had to move on because of it move back. */
static void metadata_remove(struct qcow2_metadata *metadata, uint64_t cluster)
{
    uint64_t *place = metadata->room ? metadata_place(metadata, cluster) : NULL;
    if (!place || !*place)
        return;
    *place = 0;
    metadata->count--;
    size_t at = (size_t)(place - metadata->clusters);
    for (at = (at + 1) % metadata->room; metadata->clusters[at]; at = (at + 1) % metadata->room) {
        uint64_t moved = metadata->clusters[at];
        metadata->clusters[at] = 0;
        *metadata_place(metadata, moved & ~QCOW2_METADATA_FLAGS) = moved;
    }
}

bool qcow2_metadata_has(const struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    for (uint64_t i = cluster; i < cluster + count; i++)
        if (i == 0 || (q->metadata.room && *metadata_place(&q->metadata, i)))
            return true;
    return false;
}

void qcow2_metadata_retire(struct qcow2 *q, uint64_t cluster)
{
    if (cluster && qcow2_metadata_has(q, cluster, 1))
        *metadata_place(&q->metadata, cluster) |= QCOW2_METADATA_RETIRED;
}

bool qcow2_metadata_has_space(const struct qcow2 *q, uint64_t cluster)
{
    return q->metadata.room && *metadata_place(&q->metadata, cluster) & QCOW2_METADATA_HAS_SPACE;
}

void qcow2_metadata_set_space(struct qcow2 *q, uint64_t cluster)
{
    if (cluster && qcow2_metadata_has(q, cluster, 1))
        *metadata_place(&q->metadata, cluster) |= QCOW2_METADATA_HAS_SPACE;
}

static bool metadata_is_retired(const struct qcow2_metadata *metadata, uint64_t cluster)
{
    return metadata->room && *metadata_place(metadata, cluster) & QCOW2_METADATA_RETIRED;
}

int qcow2_corrupt(struct qcow2 *q, const char *what, uint64_t offset)
{
    if (q->is_corrupt)
        return -EIO;
    q->is_corrupt = true;
    log_error("qcow2 image is corrupt: %s at offset %llu; no change is accepted any more, run "
              "qemu-img check",
              what, (unsigned long long)offset);
    if (q->version >= 3) {
        uint64_t word = htobe64(q->incompatible | QCOW2_INCOMPATIBLE_CORRUPT);
        file_write(q->fd, &word, QCOW2_INCOMPATIBLE_FIELD,
                   sizeof(word)); /* as well as it can be said */
    }
    return -EIO;
}

/* ---- allocation ---- */

/* How many clusters from `cluster` on are alike, free or not, as far as one slice tells; at most `limit`. */
static int alike_count(struct qcow2 *q, uint64_t cluster, uint64_t limit, bool *is_free,
                       uint64_t *alike)
{
    struct qcow2_slice *slice;
    uint64_t index, in_block = per_block(q) - cluster % per_block(q);
    *is_free = true;
    *alike = in_block < limit ? in_block : limit;
    if (!has_block(q, cluster))
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
    *alike = at - index;
    return 0;
}

/* The first run of `count` clusters that nothing counts, from the hint on. */
static int find_free(struct qcow2 *q, uint64_t count, uint64_t *first)
{
    bool is_lowest = count == 1 || q->run_hint <= q->free_hint, is_free;
    uint64_t run = 0, cluster = is_lowest ? q->free_hint : q->run_hint;
    while (run < count) {
        uint64_t alike;
        int ret = alike_count(q, cluster, run ? count - run : UINT64_MAX, &is_free, &alike);
        if (ret)
            return ret;
        if (is_free && is_lowest)
            q->free_hint = cluster;
        is_lowest &= !is_free;
        run = is_free ? run + alike : 0;
        cluster += alike;
    }
    *first = cluster - run;
    if (*first + count > QCOW2_OFFSET_MASK >> q->cluster_bits)
        return -EFBIG;
    if (qcow2_metadata_has(q, *first, count))
        return qcow2_corrupt(q, "metadata lies in clusters that are counted as free",
                             *first << q->cluster_bits);
    return 0;
}

static void use_until(struct qcow2 *q, uint64_t cluster)
{
    if (q->end_cluster < cluster)
        q->end_cluster = cluster;
    uint64_t end = q->end_cluster << q->cluster_bits;
    if (end <= q->file_bytes)
        return;
    uint64_t ahead = end / 4 < GROW_BYTES_MAX ? end / 4 : GROW_BYTES_MAX;
    end = (end + ahead) & ~(q->cluster_bytes - 1);
    /* Where this fails the writes themselves move the end, or say why they cannot. */
    if (ftruncate(q->fd, (off_t)end) == 0)
        q->file_bytes = end;
}

void qcow2_file_trim(struct qcow2 *q)
{
    uint64_t end = q->end_cluster << q->cluster_bits;
    if (end < q->file_bytes && ftruncate(q->fd, (off_t)end) == 0)
        q->file_bytes = end;
}

static int refcount_table_grow(struct qcow2 *q, uint64_t block);

/* A table that should have moved, and for which there was no space, is in the way of everything. */
static int refcount_table_ensure(struct qcow2 *q)
{
    if (!q->must_move_refcount_table || q->moves_refcount_table)
        return 0;
    return q->waits_not ? -EAGAIN : qcow2_refcount_table_move(q);
}

/* Makes the refcount block of that number in the free cluster `place`, which it counts, or another block does. */
static int refcount_block_make(struct qcow2 *q, uint64_t block, uint64_t place)
{
    int ret = qcow2_space_take_run(q, q->refcount_table_offset,
                                   q->refcount_table_disk_entries * sizeof(uint64_t));
    if (ret == 0)
        ret = qcow2_metadata_add(q, place);
    if (ret)
        return ret;
    ret = qcow2_space_clear(q, place, place >= q->end_cluster);
    use_until(q, place + 1);
    q->refcount_table[block] = place << q->cluster_bits;
    if (ret == 0)
        ret = refcount_put(q, place, 1);
    if (ret) {
        q->refcount_table[block] = 0;
        metadata_remove(&q->metadata, place);
        return ret;
    }
    q->has_dirty_refcount_table = true;
    return 0;
}

/* The refcount block that counts `cluster` exists afterwards. */
static int refcount_block_ensure(struct qcow2 *q, uint64_t cluster)
{
    if (q->waits_not && !has_block(q, cluster))
        return -EAGAIN;
    int moved = refcount_table_ensure(q);
    if (moved)
        return moved;
    while (!has_block(q, cluster)) {
        uint64_t block = cluster / per_block(q), place;
        int ret = 0;
        if (block >= q->refcount_table_entries) {
            ret = refcount_table_grow(q, block);
            if (ret)
                return ret;
            continue;
        }
        ret = find_free(q, 1, &place);
        if (ret)
            return ret;
        if (place / per_block(q) != block && !has_block(q, place)) {
            /* The lowest free cluster is in a part that has no block either: that part comes first. */
            ret = refcount_block_ensure(q, place);
            if (ret)
                return ret;
            continue;
        }
        ret = refcount_block_make(q, block, place);
        if (ret)
            return ret;
    }
    return 0;
}

int qcow2_allocate(struct qcow2 *q, uint64_t count, uint64_t *cluster, bool *is_fresh)
{
    uint64_t first;
    int moved = refcount_table_ensure(q);
    if (moved)
        return moved;
    for (bool is_counted = false; !is_counted;) {
        int ret = find_free(q, count, &first);
        if (ret)
            return ret;
        is_counted = true;
        for (uint64_t i = first; i < first + count && is_counted; i++)
            if (!has_block(q, i)) {
                /* The new block may take one of these clusters: look again. */
                ret = refcount_block_ensure(q, i);
                if (ret)
                    return ret;
                is_counted = false;
            }
    }
    for (uint64_t i = 0; i < count; i++) {
        int ret = refcount_put(q, first + i, 1);
        if (ret) {
            qcow2_unallocate(q, first, i);
            return ret;
        }
    }
    *is_fresh = first >= q->end_cluster;
    use_until(q, first + count);
    if (q->free_hint == first)
        q->free_hint = first + count;
    if (count > 1)
        q->run_hint = first + count;
    *cluster = first;
    return 0;
}

void qcow2_unallocate(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    for (uint64_t i = cluster; i < cluster + count; i++) {
        if (refcount_put(q, i, 0) != 0)
            return; /* the rest stays counted: leaked, not lost */
        metadata_remove(&q->metadata, i);
    }
    if (q->free_hint > cluster)
        q->free_hint = cluster;
    if (q->run_hint == cluster + count)
        q->run_hint = cluster;
}

/* Makes room for entry `block`; the table has to move then. */
static int refcount_table_grow(struct qcow2 *q, uint64_t block)
{
    uint64_t per_cluster = q->cluster_bytes / sizeof(uint64_t);
    uint64_t entries = q->refcount_table_entries * 3 / 2;
    entries = (entries > block ? entries : block + 1) + per_cluster - 1;
    entries -= entries % per_cluster;
    if (entries * sizeof(uint64_t) > QCOW2_REFCOUNT_TABLE_BYTES_MAX)
        return -EFBIG;
    uint64_t *table = realloc(q->refcount_table, entries * sizeof(*table));
    if (!table)
        return -ENOMEM;
    memset(table + q->refcount_table_entries, 0,
           (entries - q->refcount_table_entries) * sizeof(*table));
    q->refcount_table = table;
    q->refcount_table_entries = entries;
    q->must_move_refcount_table = true;
    return q->moves_refcount_table ? 0 : qcow2_refcount_table_move(q);
}

/* Finds the new place; its space is taken. */
static int refcount_table_place(struct qcow2 *q, uint64_t *place, uint64_t *entries)
{
    uint64_t per_cluster = q->cluster_bytes / sizeof(uint64_t), count;
    bool is_fresh;
    for (;;) {
        *entries = q->refcount_table_entries;
        count = *entries / per_cluster;
        int ret = qcow2_allocate(q, count, place, &is_fresh);
        if (ret)
            return ret;
        if (*entries == q->refcount_table_entries)
            break;
        qcow2_unallocate(q, *place, count); /* it has grown again while room for it was made */
    }
    int ret = 0;
    for (uint64_t i = 0; i < count && ret == 0; i++)
        ret = qcow2_metadata_add(q, *place + i);
    if (ret == 0)
        ret = qcow2_space_take_run(q, *place << q->cluster_bits, *entries * sizeof(uint64_t));
    if (ret)
        qcow2_unallocate(q, *place, count);
    return ret;
}

int qcow2_refcount_table_move(struct qcow2 *q)
{
    uint64_t per_cluster = q->cluster_bytes / sizeof(uint64_t), entries, place;
    q->moves_refcount_table = true;
    int ret = refcount_table_place(q, &place, &entries);
    q->moves_refcount_table = false;
    if (ret)
        return ret; /* whoever allocates next tries again */
    uint64_t old_place = q->refcount_table_offset >> q->cluster_bits;
    for (uint64_t i = 0; i < q->refcount_table_disk_entries / per_cluster; i++) {
        qcow2_metadata_retire(q, old_place + i);
        if (qcow2_release_later(q, old_place + i) != 0)
            break; /* the rest is leaked */
    }
    q->refcount_table_offset = place << q->cluster_bits;
    q->refcount_table_disk_entries = entries;
    q->must_move_refcount_table = false;
    q->has_moved_refcount_table = q->has_dirty_refcount_table = true;
    return 0;
}

/* Only repair sets counts of clusters that it did not allocate. */
int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    if (count == 0 && !has_block(q, cluster))
        return 0;
    int ret = refcount_block_ensure(q, cluster);
    return ret ? ret : refcount_put(q, cluster, count);
}

/* A cluster that nobody refers to any more is forgotten and may be found. */
int qcow2_refcount_drop(struct qcow2 *q, uint64_t cluster, uint64_t references)
{
    uint64_t count;
    int ret = qcow2_refcount_get(q, cluster, &count);
    if (ret)
        return ret;
    if (count < references)
        return qcow2_corrupt(q, "a cluster in use is counted as free", cluster << q->cluster_bits);
    ret = refcount_put(q, cluster, count - references);
    if (ret == 0 && count == references) {
        qcow2_cache_drop(q, cluster);
        if (metadata_is_retired(&q->metadata, cluster))
            metadata_remove(&q->metadata, cluster);
        if (q->free_hint > cluster)
            q->free_hint = cluster;
        if (q->run_hint > cluster)
            q->run_hint = cluster;
    }
    return ret;
}
