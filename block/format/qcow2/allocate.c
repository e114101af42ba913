/* SPDX-License-Identifier: Apache-2.0
 *
 * Allocation of host clusters, and the growth of the refcount structures.
 *
 * The file grows ahead of its use, by a quarter of itself and at most GROW_BYTES_MAX at a time. The
 * added part is a hole, and a write that does not move the file's end costs the kernel less.
 *
 * A new refcount block takes the lowest free cluster, often the one that counts itself. A refcount
 * table that is full grows in memory and moves to new clusters; the old ones are released.
 *
 *   A1  An allocated run is at or above free_hint, below end_cluster, and not cluster 0 (S1, S2,
 *       S3).
 *   A2  While must_move_refcount_table is set, only the table itself is allocated (S4).
 *   A3  A non-blocking caller makes no refcount block and moves no table: both may read and write.
 */
#include "block/format/qcow2/allocate.h"

#include "block/format/qcow2/frees.h"
#include "block/format/qcow2/metadata.h"
#include "block/format/qcow2/refcount.h"
#include "block/format/qcow2/space.h"

#include <unistd.h>

enum { GROW_BYTES_MAX = 64 << 20 };

static int refcount_table_move(struct qcow2 *q);

/* Finds the first run of `count` free clusters from the hint on. */
static int find_free(struct qcow2 *q, uint64_t count, uint64_t *first)
{
    bool is_lowest = count == 1 || q->run_hint <= q->free_hint, is_free;
    uint64_t run = 0, cluster = is_lowest ? q->free_hint : q->run_hint;
    while (run < count) {
        uint64_t alike;
        int ret = qcow2_refcount_run(q, cluster, run ? count - run : UINT64_MAX, &is_free, &alike);
        if (ret)
            return ret;
        if (is_free && is_lowest)
            q->free_hint = cluster;
        is_lowest &= !is_free;
        run = is_free ? run + alike : 0;
        cluster += alike;
    }
    *first = cluster - run;
    assert(*first >= q->free_hint); /* A1 */
    if (*first + count > QCOW2_OFFSET_MASK >> q->cluster_bits)
        return -EFBIG;
    if (qcow2_metadata_has(q, *first, count))
        return qcow2_corrupt(q, "metadata lies in clusters that are counted as free",
                             *first << q->cluster_bits);
    return 0;
}

/* Moves end_cluster up to `cluster`, and grows the file ahead of it. */
static void use_until(struct qcow2 *q, uint64_t cluster)
{
    if (q->end_cluster < cluster)
        q->end_cluster = cluster;
    uint64_t end = q->end_cluster << q->cluster_bits;
    if (end <= q->file_bytes)
        return;
    uint64_t ahead = end / 4 < GROW_BYTES_MAX ? end / 4 : GROW_BYTES_MAX;
    end = (end + ahead) & ~(q->cluster_bytes - 1);
    /* If this fails, the writes themselves move the end or report why they cannot. */
    if (ftruncate(q->fd, (off_t)end) == 0)
        q->file_bytes = end;
}

void qcow2_file_trim(struct qcow2 *q)
{
    uint64_t end = q->end_cluster << q->cluster_bits;
    if (end < q->file_bytes && ftruncate(q->fd, (off_t)end) == 0)
        q->file_bytes = end;
}

/* ---- refcount blocks and the refcount table ---- */

/* Makes entry `block` part of the table, which must move then. */
static int refcount_table_grow(struct qcow2 *q, uint64_t block)
{
    uint64_t per_cluster = q->cluster_bytes / sizeof(uint64_t);
    uint64_t entries = q->refcount_table_entries * 3 / 2;
    entries = (entries > block ? entries : block + 1) + per_cluster - 1;
    entries -= entries % per_cluster;
    if (entries * sizeof(uint64_t) > QCOW2_REFCOUNT_TABLE_BYTES_MAX)
        return -EFBIG;
    q->refcount_table_entries = entries;
    q->must_move_refcount_table = true;
    assert(entries > block && entries > q->refcount_table_disk_entries); /* S4 */
    return q->moves_refcount_table ? 0 : refcount_table_move(q);
}

/* Moves a table whose earlier move found no space. Precedes every allocation (A2). */
static int refcount_table_ensure(struct qcow2 *q)
{
    if (!q->must_move_refcount_table || q->moves_refcount_table)
        return 0;
    return q->is_nonblocking ? -EAGAIN : refcount_table_move(q);
}

/* Makes room for entry `block` in memory. */
static int refcount_table_know(struct qcow2 *q, uint64_t block)
{
    uint64_t known = q->refcount_table_known * 3 / 2;
    known = known > block ? known : block + 1;
    known = known < q->refcount_table_entries ? known : q->refcount_table_entries;
    if (block < q->refcount_table_known)
        return 0;
    uint64_t *table = realloc(q->refcount_table, known * sizeof(*table));
    if (!table)
        return -ENOMEM;
    memset(table + q->refcount_table_known, 0, (known - q->refcount_table_known) * sizeof(*table));
    q->refcount_table = table;
    q->refcount_table_known = known;
    assert(block < known && known <= q->refcount_table_entries); /* S8 */
    return 0;
}

/* Makes refcount block `block` in the free cluster `place`, which it or another block counts. */
static int refcount_block_make(struct qcow2 *q, uint64_t block, uint64_t place)
{
    assert(!q->is_nonblocking && block < q->refcount_table_entries); /* A3 */
    assert(!qcow2_refcount_block(q, block));
    int ret = refcount_table_know(q, block);
    if (ret == 0)
        ret = qcow2_space_take_run(q, q->refcount_table_offset,
                                   q->refcount_table_disk_entries * sizeof(uint64_t));
    if (ret == 0)
        ret = qcow2_metadata_add(q, place);
    if (ret)
        return ret;
    ret = qcow2_space_clear(q, place, place >= q->end_cluster);
    use_until(q, place + 1);
    q->refcount_table[block] = place << q->cluster_bits;
    if (ret == 0)
        ret = qcow2_refcount_put(q, place, 1);
    if (ret) {
        q->refcount_table[block] = 0;
        qcow2_metadata_remove(q, place);
        return ret;
    }
    q->has_dirty_refcount_table = true;
    return 0;
}

/* One step towards a block for `cluster`: the table grows, a block for the new block is made, or
 * the block itself. */
static int refcount_block_step(struct qcow2 *q, uint64_t cluster)
{
    uint64_t block = cluster / qcow2_refcounts_per_block(q), place;
    if (block >= q->refcount_table_entries)
        return refcount_table_grow(q, block);
    int ret = find_free(q, 1, &place);
    if (ret)
        return ret;
    uint64_t place_block = place / qcow2_refcounts_per_block(q);
    if (place_block == block || qcow2_refcount_has_block(q, place))
        return refcount_block_make(q, block, place);
    /* The lowest free cluster has no block either: that one comes first. */
    return refcount_block_step(q, place);
}

/* Makes the refcount block that counts `cluster` if there is none. */
static int refcount_block_ensure(struct qcow2 *q, uint64_t cluster)
{
    if (q->is_nonblocking && !qcow2_refcount_has_block(q, cluster))
        return -EAGAIN;
    int ret = refcount_table_ensure(q);
    while (ret == 0 && !qcow2_refcount_has_block(q, cluster))
        ret = refcount_block_step(q, cluster);
    return ret;
}

/* Finds new clusters for the table; their space is allocated. */
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
        qcow2_unallocate(q, *place, count); /* the allocation itself made the table grow */
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

static int refcount_table_move(struct qcow2 *q)
{
    uint64_t per_cluster = q->cluster_bytes / sizeof(uint64_t), entries, place;
    assert(!q->is_nonblocking && !q->moves_refcount_table); /* A3 */
    q->moves_refcount_table = true;
    int ret = refcount_table_place(q, &place, &entries);
    q->moves_refcount_table = false;
    if (ret)
        return ret; /* the next allocation retries */
    assert(entries == q->refcount_table_entries &&
           entries >= q->refcount_table_disk_entries); /* S4 */
    uint64_t old_place = q->refcount_table_offset >> q->cluster_bits;
    for (uint64_t i = 0; i < q->refcount_table_disk_entries / per_cluster; i++) {
        qcow2_metadata_retire(q, old_place + i);
        if (qcow2_release_later(q, old_place + i) != 0)
            break; /* the rest is leaked */
    }
    q->refcount_table_offset = place << q->cluster_bits;
    q->refcount_table_disk_entries = entries;
    q->must_move_refcount_table = false;
    q->has_moved_refcount_table = q->has_dirty_refcount_table = true; /* S5 */
    return 0;
}

/* ---- clusters ---- */

/* Finds a run of free clusters that all have refcount blocks. */
static int find_counted(struct qcow2 *q, uint64_t count, uint64_t *first)
{
    for (bool is_counted = false; !is_counted;) {
        int ret = find_free(q, count, first);
        is_counted = true;
        for (uint64_t i = *first; ret == 0 && is_counted && i < *first + count; i++)
            if (!qcow2_refcount_has_block(q, i)) {
                /* The new block may take one of these clusters: search again. */
                ret = refcount_block_ensure(q, i);
                is_counted = false;
            }
        if (ret)
            return ret;
    }
    return 0;
}

int qcow2_allocate(struct qcow2 *q, uint64_t count, uint64_t *cluster, bool *is_fresh)
{
    uint64_t first;
    assert(count > 0);
    int ret = refcount_table_ensure(q);
    if (ret == 0)
        ret = find_counted(q, count, &first);
    for (uint64_t i = 0; i < count && ret == 0; i++) {
        ret = qcow2_refcount_put(q, first + i, 1);
        if (ret)
            qcow2_unallocate(q, first, i);
    }
    if (ret)
        return ret;
    *is_fresh = first >= q->end_cluster;
    use_until(q, first + count);
    if (q->free_hint == first)
        q->free_hint = first + count;
    if (count > 1)
        q->run_hint = first + count;
    assert(first > 0 && first + count <= q->end_cluster);            /* A1 */
    assert(!q->must_move_refcount_table || q->moves_refcount_table); /* A2 */
    *cluster = first;
    return 0;
}

void qcow2_unallocate(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    assert(cluster > 0 || count == 0); /* S3 */
    for (uint64_t i = cluster; i < cluster + count; i++) {
        if (qcow2_refcount_put(q, i, 0) != 0)
            return; /* the rest is leaked */
        qcow2_metadata_remove(q, i);
    }
    if (q->free_hint > cluster)
        q->free_hint = cluster;
    if (q->run_hint == cluster + count)
        q->run_hint = cluster;
}

int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
    if (count == 0 && !qcow2_refcount_has_block(q, cluster))
        return 0;
    int ret = refcount_block_ensure(q, cluster);
    return ret ? ret : qcow2_refcount_put(q, cluster, count);
}
