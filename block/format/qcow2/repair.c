/* SPDX-License-Identifier: Apache-2.0
 *
 * Repair of an image whose dirty bit is set: its reference counts may be wrong (lazy refcounts, or
 * a writer that died). All references are counted by walking everything that the header leads to;
 * then every count that differs is set, and every copied flag. The dirty bit is cleared last, so a
 * repair that was cut short is repeated.
 *
 *     header -> L1 tables of the image and its snapshots -> L2 tables, each read once -> clusters
 *                    one reference for each entry              one for each entry and reference
 *
 * The file's size bounds the work, which may be long all the same: it ends early when nobody wants
 * the node any more (node_is_wanted). Bitmaps are not walked: their autoclear bit is cleared
 * already, so their clusters are unused.
 */
#include "block/format/qcow2/repair.h"

#include "block/format/qcow2/allocate.h"
#include "block/format/qcow2/cache.h"
#include "block/format/qcow2/compressed.h"
#include "block/format/qcow2/flusher.h"
#include "block/format/qcow2/header.h"
#include "block/format/qcow2/l2.h"
#include "block/format/qcow2/refcount.h"
#include "block/format/qcow2/tables.h"

enum { CHUNK_CLUSTERS = 1 << 14 };

struct walk {
    struct qcow2 *q;
    uint32_t *
        *chunks; /* of CHUNK_CLUSTERS counts each; NULL: all zeros, so sparse files cost little */
    uint64_t clusters; /* of the file */
    struct qcow2_tables tables;
    const char *why; /* it cannot be repaired */
};

static int walk_fail(struct walk *walk, const char *why)
{
    walk->why = why;
    return -EINVAL;
}

static uint32_t count_get(const struct walk *walk, uint64_t cluster)
{
    const uint32_t *chunk = walk->chunks[cluster / CHUNK_CLUSTERS];
    return chunk ? chunk[cluster % CHUNK_CLUSTERS] : 0;
}

/* NULL when memory is short. */
static uint32_t *count_place(struct walk *walk, uint64_t cluster)
{
    uint32_t **chunk = &walk->chunks[cluster / CHUNK_CLUSTERS];
    if (!*chunk)
        *chunk = calloc(CHUNK_CLUSTERS, sizeof(**chunk));
    return *chunk ? &(*chunk)[cluster % CHUNK_CLUSTERS] : NULL;
}

/* Adds `references` references to each cluster of the range. */
static int walk_count(struct walk *walk, uint64_t offset, uint64_t bytes, uint64_t references)
{
    const struct qcow2 *q = walk->q;
    if (bytes == 0)
        return 0;
    uint64_t first = offset >> q->cluster_bits, last = (offset + bytes - 1) >> q->cluster_bits;
    if (last >= walk->clusters)
        return walk_fail(walk, "it refers to clusters past the end of the file");
    for (uint64_t cluster = first; cluster <= last; cluster++) {
        uint32_t *count = count_place(walk, cluster);
        if (!count)
            return -ENOMEM;
        uint64_t sum = *count + references;
        if (sum > UINT32_MAX || (q->refcount_order < 5 && sum >> (1u << q->refcount_order)))
            return walk_fail(walk, "a cluster has more references than its count can hold");
        *count = (uint32_t)sum;
    }
    return 0;
}

static int walk_entry(struct walk *walk, struct qcow2_entry entry, uint64_t references)
{
    uint64_t offset = entry.word & QCOW2_OFFSET_MASK, length = walk->q->cluster_bytes;
    if (entry.word & QCOW2_COMPRESSED)
        qcow2_compressed_range(walk->q, entry.word, &offset, &length);
    else if (offset & (walk->q->cluster_bytes - 1))
        return walk_fail(walk, "an L2 entry is impossible");
    else if (!offset)
        return 0;
    /* The last sectors of compressed data may pass the end of the file. */
    uint64_t end = walk->clusters << walk->q->cluster_bits;
    if (entry.word & QCOW2_COMPRESSED && offset < end && length > end - offset)
        length = end - offset;
    return walk_count(walk, offset, length, references);
}

/* Counts what one L2 table references. Nothing has changed in memory yet, so the file is
 * complete. */
static int walk_table(struct walk *walk, const struct qcow2_table *table, uint64_t *words)
{
    const struct qcow2 *q = walk->q;
    if (!node_is_wanted(q->node))
        return -ECANCELED;
    if (qcow2_is_hole(q, table->offset, q->cluster_bytes))
        return 0;
    int ret = file_read_padded(q->fd, words, table->offset, q->cluster_bytes);
    uint64_t step = q->l2_entry_bytes / sizeof(uint64_t);
    for (uint64_t i = 0; i < q->cluster_bytes / sizeof(uint64_t) && ret == 0; i += step)
        ret = walk_entry(walk, (struct qcow2_entry){.word = be64toh(words[i])}, table->references);
    return ret;
}

static int walk_tables(struct walk *walk)
{
    CLEANUP_FREE uint64_t *words = malloc(walk->q->cluster_bytes);
    if (!words)
        return -ENOMEM;
    int ret = 0;
    for (size_t i = 0; i < walk->tables.room && ret == 0; i++)
        if (walk->tables.slots[i].offset)
            ret = walk_table(walk, &walk->tables.slots[i], words);
    return ret;
}

/* Counts an L1 table and the L2 tables that it references. */
static int walk_l1(struct walk *walk, uint64_t offset, const uint64_t *words, uint32_t entries)
{
    const struct qcow2 *q = walk->q;
    int ret = walk_count(walk, offset, entries * sizeof(uint64_t), 1);
    for (uint32_t i = 0; i < entries && ret == 0; i++) {
        uint64_t table = words[i] & QCOW2_OFFSET_MASK;
        if (!table)
            continue;
        if (table & (q->cluster_bytes - 1))
            return walk_fail(walk, "an L1 entry is impossible");
        ret = walk_count(walk, table, q->cluster_bytes, 1);
        if (ret == 0)
            ret = qcow2_tables_note(&walk->tables, table);
    }
    return ret;
}

static int walk_snapshot(struct walk *walk, const struct qcow2_snapshot *snapshot)
{
    CLEANUP_FREE uint64_t *words = NULL;
    if (!node_is_wanted(walk->q->node))
        return -ECANCELED;
    int ret = qcow2_table_load(walk->q->fd, snapshot->l1_offset, snapshot->l1_entries, &words);
    return ret ? ret : walk_l1(walk, snapshot->l1_offset, words, snapshot->l1_entries);
}

/* Counts the refcount blocks last: one that overlaps something else, or lies past the end of the
 * file, is dropped and made anew. */
static int walk_blocks(struct walk *walk)
{
    struct qcow2 *q = walk->q;
    int ret = 0;
    for (uint64_t i = 0; i < q->refcount_table_known && ret == 0; i++) {
        uint64_t block = q->refcount_table[i], cluster = block >> q->cluster_bits;
        if (block && (cluster >= walk->clusters || count_get(walk, cluster))) {
            q->refcount_table[i] = 0;
            q->has_dirty_refcount_table = true;
        } else if (block)
            ret = walk_count(walk, block, q->cluster_bytes, 1);
    }
    return ret;
}

static int walk_all(struct walk *walk)
{
    struct qcow2 *q = walk->q;
    int ret = walk_count(walk, 0, 1, 1);
    if (ret == 0)
        ret = walk_l1(walk, q->l1_offset, q->l1, q->l1_entries);
    if (ret == 0)
        ret = walk_count(walk, q->snapshots_offset, q->snapshots_bytes, 1);
    for (uint32_t i = 0; i < q->snapshot_count && ret == 0; i++)
        ret = walk_snapshot(walk, &q->snapshots[i]);
    if (ret == 0)
        ret = walk_tables(walk);
    if (ret == 0)
        ret = walk_count(walk, q->refcount_table_offset,
                         q->refcount_table_entries * sizeof(uint64_t), 1);
    return ret ? ret : walk_blocks(walk);
}

/* ---- setting ---- */

/* The number of clusters from here on that have no refcount block and need none, or 0. */
static uint64_t clusters_to_skip(const struct walk *walk, uint64_t cluster, bool make_blocks)
{
    bool is_counted = make_blocks && walk->chunks[cluster / CHUNK_CLUSTERS];
    if (is_counted || qcow2_refcount_has_block(walk->q, cluster))
        return 0;
    uint64_t in_block =
        qcow2_refcounts_per_block(walk->q) - cluster % qcow2_refcounts_per_block(walk->q);
    uint64_t in_chunk = CHUNK_CLUSTERS - cluster % CHUNK_CLUSTERS;
    return in_block < in_chunk ? in_block : in_chunk;
}

/* Sets the counts that differ; those without a refcount block only if `make_blocks`. */
static int counts_set(const struct walk *walk, bool make_blocks)
{
    struct qcow2 *q = walk->q;
    for (uint64_t cluster = 0; cluster < walk->clusters;) {
        uint64_t skip = clusters_to_skip(walk, cluster, make_blocks), count;
        if (cluster % CHUNK_CLUSTERS == 0 && !node_is_wanted(q->node))
            return -ECANCELED;
        if (skip) {
            cluster += skip;
            continue;
        }
        int ret = qcow2_refcount_get(q, cluster, &count);
        if (ret == 0 && count != count_get(walk, cluster))
            ret = qcow2_refcount_set(q, cluster, count_get(walk, cluster));
        if (ret)
            return ret;
        cluster++;
    }
    return 0;
}

static uint64_t with_copied(const struct walk *walk, uint64_t word)
{
    uint64_t offset = word & QCOW2_OFFSET_MASK;
    if (word & QCOW2_COMPRESSED || !offset)
        return word & ~QCOW2_COPIED;
    bool is_single = count_get(walk, offset >> walk->q->cluster_bits) == 1;
    return is_single ? word | QCOW2_COPIED : word & ~QCOW2_COPIED;
}

/* Sets the copied flags of one L2 table. */
static int table_set_copied(const struct walk *walk, uint64_t table)
{
    struct qcow2 *q = walk->q;
    for (uint64_t at = table; at < table + q->cluster_bytes; at += q->l2_entry_bytes) {
        struct qcow2_slice *slice;
        int ret = qcow2_cache_get(q, at, false, &slice);
        if (ret)
            return ret;
        uint64_t *place = (uint64_t *)(void *)(slice->bytes + at % q->cache.slice_bytes);
        uint64_t word = with_copied(walk, be64toh(*place));
        if (word != be64toh(*place)) {
            *place = htobe64(word);
            qcow2_cache_dirty(&q->cache, slice);
        }
    }
    return 0;
}

static int copied_set(const struct walk *walk)
{
    struct qcow2 *q = walk->q;
    int ret = 0;
    for (uint32_t i = 0; i < q->l1_entries && ret == 0; i++) {
        uint64_t table = q->l1[i] & QCOW2_OFFSET_MASK, word = with_copied(walk, q->l1[i]);
        if (word != q->l1[i]) {
            q->l1[i] = word;
            q->l1_dirty[i] = q->has_dirty_l1 = true; /* S6 */
        }
        if (!node_is_wanted(q->node))
            return -ECANCELED;
        if (table && !qcow2_is_hole(q, table, q->cluster_bytes))
            ret = table_set_copied(walk, table);
    }
    return ret;
}

static int walk_apply(struct walk *walk)
{
    struct qcow2 *q = walk->q;
    int ret = counts_set(walk, false);
    /* Missing blocks go past everything else: the clusters they will count look free until then. */
    q->free_hint = walk->clusters;
    if (ret == 0)
        ret = counts_set(walk, true);
    q->free_hint = 0;
    return ret ? ret : copied_set(walk);
}

/* Counts and sets, in memory. */
static int walk_run(struct walk *walk)
{
    enum { CLUSTERS_MAX = 1 << 28 };
    if (walk->clusters > CLUSTERS_MAX)
        return -EFBIG;
    size_t chunks = walk->clusters / CHUNK_CLUSTERS + 1;
    walk->chunks = calloc(chunks, sizeof(*walk->chunks));
    int ret = walk->chunks ? walk_all(walk) : -ENOMEM;
    if (ret == 0)
        ret = walk_apply(walk);
    for (size_t i = 0; walk->chunks && i < chunks; i++)
        free(walk->chunks[i]);
    free(walk->chunks);
    qcow2_tables_free(&walk->tables);
    return ret;
}

int qcow2_repair(struct node *node, struct err *err)
{
    struct qcow2 *q = node->state;
    struct walk walk = {.q = q, .clusters = q->end_cluster, .why = "it cannot be repaired"};
    assert(q->incompatible & QCOW2_INCOMPATIBLE_DIRTY && q->cache.dirty_count == 0);
    int ret = walk_run(&walk);
    if (ret == 0)
        ret = qcow2_flush(node);
    if (ret == 0) {
        q->incompatible &= ~QCOW2_INCOMPATIBLE_DIRTY;
        ret = qcow2_header_store_features(node, QCOW2_INCOMPATIBLE_FIELD, q->incompatible);
    }
    if (ret == 0)
        return 0;
    if (ret == -ECANCELED)
        return node_unwanted_error(node->path, err);
    return err_set(
        err, ret == -EINVAL ? ErrInvalidBlockFormat : ErrOpenFileFailed, ret == -EINVAL ? 0 : -ret,
        "qcow2 image '%s' is marked dirty and %s; run qemu-img check -r all", node->path, walk.why);
}
