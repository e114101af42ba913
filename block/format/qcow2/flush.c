/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing the changed tables back. A flush copies everything that is dirty at one instant (the
 * batch) and writes the copy; requests go on meanwhile, and their changes belong to the next flush.
 *
 *     guest data (already written)   refcount slices (counts that went up)
 *                       \             /
 *                        fdatasync --> refcount table --> fdatasync
 *                                         (if a block is new)  |
 *                        L2 slices, L1 entries  <-------------+
 *                                 |
 *                             fdatasync --> journal records dropped --> clusters freed
 *
 *     EMPTY --batch_take--> TAKEN --counts_write--> COUNTED --entries_write--> DURABLE
 *                             |                        |                        |
 *                             |  any failure           |                        | records_drop
 *                             v                        v                        v
 *                         batch_end: all is dirty again              FREEABLE --frees_release-->
 *
 * Write order:
 *   W1  An L2 or L1 entry reaches the file only after the count of its cluster and the data in it
 *       are durable. So whichever writes since the last fdatasync reach the disk, a crash may leak
 *       clusters but never corrupts the image.
 *   W2  The header moves to a new refcount table only after that table is durable.
 *   W3  Journal records are dropped only after their batch is durable, and before the clusters that
 *       the batch released are freed: no cluster that a record names ever belongs to anybody else,
 *       and no reference that a record removes has been dropped already.
 *   W4  Clusters are freed only after the entries that released them are durable.
 *   W5  A flush allocates no disk space: it was allocated before the change was acknowledged
 *       (space.c). No assert: the file system has the last word.
 *   W6  While the node keeps what is freed (thawed: driver.h, D3), nothing is released. No assert:
 *       the flag may be cleared at any time.
 *
 * One flush at a time: the caller holds node->flush_lock, or is opening the image (repair). So no
 * assert.
 */
#include "block/format/qcow2/flush.h"

#include "block/format/qcow2/cache.h"
#include "block/format/qcow2/frees.h"
#include "block/format/qcow2/release.h"

enum batch_state { BATCH_EMPTY, BATCH_TAKEN, BATCH_COUNTED, BATCH_DURABLE, BATCH_FREEABLE };

struct batch_slice {
    struct qcow2_slice *slice;
    uint64_t offset;
    bool is_refcount;
    unsigned char *bytes;
};

struct batch {
    enum batch_state state;
    struct batch_slice *slices;
    size_t slice_count;
    uint32_t *l1_indexes;
    uint64_t *l1_words; /* big-endian */
    size_t l1_count;
    uint64_t *refcount_table; /* big-endian; NULL if it need not be written */
    uint64_t refcount_table_entries, refcount_table_offset;
    bool has_moved;
    struct qcow2_frees frees;
};

static void batch_assert_state(const struct batch *batch, enum batch_state state)
{
    (void)batch, (void)state;
    assert(batch->state == state);
    assert(state != BATCH_EMPTY || (!batch->slice_count && !batch->l1_count));
    assert(state != BATCH_EMPTY || (!batch->refcount_table && !batch->frees.count));
    assert(!batch->has_moved || batch->refcount_table); /* S5 */
    assert(!batch->slice_count || batch->slices);
    assert(!batch->l1_count || (batch->l1_indexes && batch->l1_words));
}

static void batch_clear(struct batch *batch)
{
    for (size_t i = 0; i < batch->slice_count; i++)
        free(batch->slices[i].bytes);
    free(batch->slices);
    free(batch->l1_indexes);
    free(batch->l1_words);
    free(batch->refcount_table);
    free(batch->frees.clusters);
}

void qcow2_room_update(struct qcow2 *q)
{
    size_t most = q->flusher.state == QCOW2_FLUSHER_RUNNING ? QCOW2_FLUSH_FIRST : QCOW2_FLUSH_AT;
    atomic_store(&q->flusher.is_full, q->cache.dirty_count > most || q->flusher.lacks_records);
}

/* ---- taking ---- */

/* Copies the dirty slices, or those of refcount blocks only. On failure those copied stay in the
 * batch. */
static int batch_take_slices(struct qcow2 *q, struct batch *batch, bool only_refcounts)
{
    struct qcow2_cache *cache = &q->cache;
    batch->slices = calloc(cache->dirty_count + 1, sizeof(*batch->slices));
    if (!batch->slices)
        return -ENOMEM;
    for (struct qcow2_slice *slice = cache->oldest; slice; slice = slice->newer) {
        if (!slice->is_dirty || (only_refcounts && !slice->is_refcount))
            continue;
        unsigned char *bytes = malloc(cache->slice_bytes);
        if (!bytes)
            return -ENOMEM;
        memcpy(bytes, slice->bytes, cache->slice_bytes);
        batch->slices[batch->slice_count++] =
            (struct batch_slice){slice, slice->offset, slice->is_refcount, bytes};
        assert(!slice->is_flushing && cache->dirty_count > 0); /* one flush at a time; C2 */
        slice->is_dirty = false;
        slice->is_flushing = true;
        cache->dirty_count--;
    }
    assert(only_refcounts || cache->dirty_count == 0); /* C2 */
    return 0;
}

static int batch_take_l1(struct qcow2 *q, struct batch *batch)
{
    if (!q->has_dirty_l1)
        return 0;
    size_t count = 0;
    for (uint32_t i = 0; i < q->l1_entries; i++)
        count += q->l1_dirty[i];
    assert(count > 0); /* S6 */
    batch->l1_indexes = malloc(count * sizeof(*batch->l1_indexes) + 1);
    batch->l1_words = malloc(count * sizeof(*batch->l1_words) + 1);
    if (!batch->l1_indexes || !batch->l1_words)
        return -ENOMEM;
    for (uint32_t i = 0; i < q->l1_entries; i++)
        if (q->l1_dirty[i]) {
            batch->l1_indexes[batch->l1_count] = i;
            batch->l1_words[batch->l1_count++] = htobe64(q->l1[i]);
            q->l1_dirty[i] = 0;
        }
    q->has_dirty_l1 = false;
    return 0;
}

static int batch_take_refcount_table(struct qcow2 *q, struct batch *batch)
{
    assert(!q->has_moved_refcount_table || q->has_dirty_refcount_table); /* S5 */
    assert(q->refcount_table_disk_entries <= q->refcount_table_entries); /* S4 */
    assert(q->must_move_refcount_table ||
           q->refcount_table_disk_entries == q->refcount_table_entries);
    if (!q->has_dirty_refcount_table)
        return 0;
    /* The part that has no room on disk yet counts no cluster in use (S4). */
    batch->refcount_table_entries = q->refcount_table_disk_entries;
    batch->refcount_table_offset = q->refcount_table_offset;
    batch->refcount_table = malloc(batch->refcount_table_entries * sizeof(uint64_t));
    if (!batch->refcount_table)
        return -ENOMEM;
    for (uint64_t i = 0; i < batch->refcount_table_entries; i++)
        batch->refcount_table[i] = htobe64(qcow2_refcount_block(q, i));
    batch->has_moved = q->has_moved_refcount_table;
    q->has_moved_refcount_table = q->has_dirty_refcount_table = false;
    return 0;
}

static int batch_take(struct qcow2 *q, struct batch *batch)
{
    LOCK_GUARD(&q->lock);
    batch_assert_state(batch, BATCH_EMPTY);
    batch->state = BATCH_TAKEN;
    int ret = batch_take_slices(q, batch, false);
    if (ret == 0)
        ret = batch_take_l1(q, batch);
    if (ret == 0)
        ret = batch_take_refcount_table(q, batch);
    if (ret == 0) {
        if (!atomic_load(&q->node->keeps_freed)) { /* W6 */
            batch->frees = q->frees;
            q->frees = (struct qcow2_frees){0};
        }
        journal_mark(q->node->journal);
        qcow2_room_update(q);
    }
    batch_assert_state(batch, BATCH_TAKEN);
    return ret;
}

/* Ends the use of the slices. After a failure (`ret`) the whole batch is dirty again. */
static void batch_end(struct qcow2 *q, struct batch *batch, int ret)
{
    LOCK_GUARD(&q->lock);
    for (size_t i = 0; i < batch->slice_count; i++) {
        assert(batch->slices[i].slice->is_flushing); /* C3 */
        batch->slices[i].slice->is_flushing = false;
        if (ret)
            qcow2_cache_dirty(&q->cache, batch->slices[i].slice);
    }
    qcow2_room_update(q);
    if (!ret)
        return;
    for (size_t i = 0; i < batch->l1_count; i++)
        q->l1_dirty[batch->l1_indexes[i]] = 1;
    q->has_dirty_l1 |= batch->l1_count != 0;
    q->has_dirty_refcount_table |= batch->refcount_table != NULL;
    q->has_moved_refcount_table |= batch->has_moved;
    for (size_t i = 0; i < batch->frees.count; i++)
        qcow2_release_later(q, batch->frees.clusters[i]); /* without memory for it: leaked */
}

/* ---- writing ---- */

static int batch_write_slices(struct qcow2 *q, const struct batch *batch, bool is_refcount)
{
    int ret = 0;
    for (size_t i = 0; i < batch->slice_count && ret == 0; i++)
        if (batch->slices[i].is_refcount == is_refcount)
            ret = file_write(q->fd, batch->slices[i].bytes, batch->slices[i].offset,
                             q->cache.slice_bytes);
    return ret;
}

/* Offset and size in the header change together: 12 bytes in one sector. */
static int header_move_refcount_table(struct node *node, const struct batch *batch)
{
    const struct qcow2 *q = node->state;
    struct __attribute__((packed)) {
        uint64_t offset;
        uint32_t clusters;
    } field = {
        .offset = htobe64(batch->refcount_table_offset),
        .clusters = htobe32((uint32_t)(batch->refcount_table_entries * 8 >> q->cluster_bits)),
    };
    static_assert(sizeof(field) == 12, "refcount table fields of the header");
    assert(batch->refcount_table && !atomic_load(&node->sync_error)); /* W2 */
    int ret = file_write(node->fd, &field, QCOW2_REFCOUNT_TABLE_FIELD, sizeof(field));
    return ret ? ret : node_sync(node);
}

/* Makes the counts that went up durable, and the guest data written before with them. */
static int counts_write(struct node *node, struct batch *batch)
{
    batch_assert_state(batch, BATCH_TAKEN);
    int ret = batch_write_slices(node->state, batch, true);
    if (ret == 0)
        ret = node_sync(node);
    if (ret == 0 && batch->refcount_table) {
        ret = file_write(node->fd, batch->refcount_table, batch->refcount_table_offset,
                         batch->refcount_table_entries * sizeof(uint64_t));
        if (ret == 0)
            ret = node_sync(node);
        if (ret == 0 && batch->has_moved)
            ret = header_move_refcount_table(node, batch);
    }
    if (ret == 0)
        batch->state = BATCH_COUNTED;
    return ret;
}

/* Makes the entries durable. */
static int entries_write(struct node *node, struct batch *batch)
{
    struct qcow2 *q = node->state;
    batch_assert_state(batch, BATCH_COUNTED); /* W1 */
    int ret = batch_write_slices(q, batch, false);
    for (size_t i = 0; i < batch->l1_count && ret == 0; i++)
        ret = file_write(q->fd, &batch->l1_words[i],
                         q->l1_offset + batch->l1_indexes[i] * sizeof(uint64_t), sizeof(uint64_t));
    if (ret == 0 && (batch->slice_count || batch->l1_count))
        ret = node_sync(node);
    if (ret == 0)
        batch->state = BATCH_DURABLE;
    return ret;
}

/* ---- after the entries are durable ---- */

/* Drops the batch's records, before its clusters are freed (W3). */
static void records_drop(struct qcow2 *q, struct batch *batch)
{
    LOCK_GUARD(&q->lock);
    batch_assert_state(batch, BATCH_DURABLE); /* W3 */
    journal_drop(q->node->journal);
    q->flusher.lacks_records = q->flusher.must_retry = false;
    qcow2_room_update(q);
    batch->state = BATCH_FREEABLE;
}

/* The batch is not durable. After a failed sync no retry can make it so. */
static void retry_note(struct qcow2 *q)
{
    LOCK_GUARD(&q->lock);
    q->flusher.must_retry |= !atomic_load(&q->node->sync_error);
}

/* Frees the released clusters and writes their counts. Not synced: a crash may leave them
 * counted. */
static int frees_release(struct qcow2 *q, struct batch *durable)
{
    struct batch batch = {.state = BATCH_TAKEN};
    batch_assert_state(durable, BATCH_FREEABLE); /* W3, W4 */
    int ret = qcow2_release(q, &durable->frees);
    if (ret)
        return ret;
    pthread_mutex_lock(&q->lock);
    ret = batch_take_slices(q, &batch, true);
    pthread_mutex_unlock(&q->lock);
    if (ret == 0)
        ret = batch_write_slices(q, &batch, true);
    batch_end(q, &batch, ret);
    batch_clear(&batch);
    return ret;
}

static bool image_is_corrupt(struct qcow2 *q)
{
    LOCK_GUARD(&q->lock);
    return q->is_corrupt;
}

int qcow2_flush_tables(struct node *node)
{
    struct qcow2 *q = node->state;
    struct batch batch = {0};
    int ret = batch_take(q, &batch);
    if (ret == 0)
        ret = counts_write(node, &batch);
    if (ret == 0)
        ret = entries_write(node, &batch);
    batch_end(q, &batch, ret);
    if (ret == 0)
        records_drop(q, &batch);
    else
        retry_note(q);
    /* The changes are durable now. Clusters that could not be freed are left to the next flush. */
    if (ret == 0 && batch.frees.count && frees_release(q, &batch) != 0 && image_is_corrupt(q))
        ret = -EIO;
    batch_clear(&batch);
    return ret;
}
