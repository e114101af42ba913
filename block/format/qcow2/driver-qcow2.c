/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2: opening, closing, and the driver's table. The format and its invariants are in qcow2.h.
 *
 * Opening to write does more than reading: autoclear bits are cleared (what they vouch for is not kept up),
 * reference counts are repaired if the image is dirty, and the set of metadata clusters is built, which also
 * finds images whose metadata overlap.
 */
#include "block/format/qcow2/driver-qcow2.h"

#include "block/format/qcow2/qcow2.h"

#include <sys/stat.h>

static void qcow2_free(struct qcow2 *q)
{
    if (q->cache.buckets)
        qcow2_cache_free(&q->cache);
    free(q->snapshots);
    free(q->l1);
    free(q->l1_dirty);
    free(q->refcount_table);
    free(q->frees.clusters);
    free(q->metadata.clusters);
    pthread_cond_destroy(&q->flusher.called);
    pthread_cond_destroy(&q->unclaimed);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static struct qcow2 *qcow2_new(struct node *node)
{
    struct qcow2 *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->unclaimed, NULL);
    pthread_cond_init(&q->flusher.called, NULL);
    q->node = node;
    q->fd = node->fd;
    return q;
}

/* Adds [offset, offset + bytes) to the metadata; -EEXIST if some of it was there already. */
static int metadata_add_range(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset >> q->cluster_bits;
    for (uint64_t i = 0; i < qcow2_clusters(q, bytes); i++) {
        if (qcow2_metadata_has(q, first + i, 1))
            return -EEXIST;
        int ret = qcow2_metadata_add(q, first + i);
        if (ret)
            return ret;
    }
    return 0;
}

static int metadata_collect(struct qcow2 *q)
{
    int ret = metadata_add_range(q, q->l1_offset, q->l1_entries * sizeof(uint64_t));
    if (ret == 0)
        ret = metadata_add_range(q, q->refcount_table_offset,
                                 q->refcount_table_entries * sizeof(uint64_t));
    if (ret == 0)
        ret = metadata_add_range(q, q->snapshots_offset, q->snapshots_bytes);
    for (uint32_t i = 0; i < q->snapshot_count && ret == 0; i++)
        ret = metadata_add_range(q, q->snapshots[i].l1_offset,
                                 q->snapshots[i].l1_entries * sizeof(uint64_t));
    for (uint64_t i = 0; i < q->refcount_table_entries && ret == 0; i++)
        if (q->refcount_table[i])
            ret = metadata_add_range(q, q->refcount_table[i], 1);
    for (uint32_t i = 0; i < q->l1_entries && ret == 0; i++)
        if (q->l1[i] & QCOW2_OFFSET_MASK)
            ret = metadata_add_range(q, q->l1[i] & QCOW2_OFFSET_MASK, 1);
    return ret;
}

static int refuse_past_end(const struct node *node, const char *what, uint64_t index,
                           struct err *err)
{
    return err_set(err, ErrInvalidBlockFormat, 0,
                   "qcow2 image '%s': its %s %llu lies past the end of the file; attach it "
                   "read-only or run qemu-img check -r all",
                   node->path, what, (unsigned long long)index);
}

/* A table that the file's end cuts short is one all the same: what is missing reads as zeros. */
static int table_use(const struct node *node, struct qcow2 *q, const char *what, uint64_t offset,
                     uint64_t bytes, struct err *err)
{
    uint64_t first = offset >> q->cluster_bits, end = first + qcow2_clusters(q, bytes);
    if (first >= q->end_cluster)
        return refuse_past_end(node, what, offset, err);
    if (q->end_cluster < end)
        q->end_cluster = end;
    return 0;
}

/* What lies past the end of the file reads as zeros and is nobody's: it cannot be changed. A repair makes new refcount
 * blocks of those there. */
static int tables_check(const struct node *node, struct qcow2 *q, struct err *err)
{
    if ((q->l1_entries && table_use(node, q, "L1 table at offset", q->l1_offset,
                                    q->l1_entries * sizeof(uint64_t), err) != 0) ||
        table_use(node, q, "refcount table at offset", q->refcount_table_offset,
                  q->refcount_table_entries * sizeof(uint64_t), err) != 0)
        return -1;
    for (uint32_t i = 0; i < q->l1_entries; i++)
        if ((q->l1[i] & QCOW2_OFFSET_MASK) >> q->cluster_bits >= q->end_cluster)
            return refuse_past_end(node, "L2 table, L1 entry", i, err);
    for (uint64_t i = 0; i < q->refcount_table_entries; i++)
        if (q->refcount_table[i] >> q->cluster_bits >= q->end_cluster &&
            !(q->incompatible & QCOW2_INCOMPATIBLE_DIRTY))
            return refuse_past_end(node, "refcount block, refcount table entry", i, err);
    return 0;
}

int qcow2_make_writable(struct node *node, struct err *err)
{
    struct qcow2 *q = node->state;
    struct stat st;
    if (fstat(q->fd, &st) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be examined", node->path);
    q->file_bytes = (uint64_t)st.st_size;
    q->end_cluster = qcow2_clusters(q, q->file_bytes);
    if (tables_check(node, q, err) != 0)
        return -1;
    int ret = metadata_collect(q);
    if (ret == -EEXIST)
        return err_set(err, ErrInvalidBlockFormat, 0,
                       "qcow2 image '%s': its metadata overlap; run qemu-img check", node->path);
    if (ret == 0 && q->autoclear) {
        q->autoclear = 0;
        ret = qcow2_header_store_features(node, QCOW2_AUTOCLEAR_FIELD, 0);
    }
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "qcow2 image '%s' cannot be opened to write",
                       node->path);
    return q->incompatible & QCOW2_INCOMPATIBLE_DIRTY ? qcow2_repair(node, err) : 0;
}

static int qcow2_open(struct node *node, struct err *err)
{
    struct qcow2 *q = qcow2_new(node);
    if (!q)
        return err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be opened", node->path);
    node->state = q;
    int ret = qcow2_header_load(node, q, err);
    if (ret == 0) {
        uint32_t slice_bytes = q->cluster_bytes < QCOW2_SLICE_BYTES_MAX ? (uint32_t)q->cluster_bytes
                                                                        : QCOW2_SLICE_BYTES_MAX;
        if (qcow2_cache_init(&q->cache, slice_bytes) != 0)
            ret =
                err_set(err, ErrOutOfResources, ENOMEM, "image '%s' cannot be opened", node->path);
    }
    if (ret == 0 && !atomic_load(&node->read_only))
        ret = qcow2_make_writable(node, err);
    if (ret) {
        qcow2_flusher_end(q);
        qcow2_free(q);
        node->state = NULL;
    }
    return ret;
}

static void qcow2_close(struct node *node)
{
    struct qcow2 *q = node->state;
    qcow2_flusher_end(q);
    if (!atomic_load(&node->read_only) && !q->is_corrupt)
        qcow2_file_trim(q);
    qcow2_free(q);
    node->state = NULL;
}

const struct driver driver_qcow2 = {
    .name = "qcow2",
    .supports_backing = true,
    .open = qcow2_open,
    .close = qcow2_close,
    .create = qcow2_create,
    .shape_fit = qcow2_shape_fit,
    .group_id = qcow2_group_id,
    .map = qcow2_map,
    .read = qcow2_read,
    .write = qcow2_write,
    .write_cached = qcow2_write_cached,
    .zero = qcow2_zero,
    .zero_fast = qcow2_zero_fast,
    .discard = qcow2_discard,
    .flush = qcow2_flush,
    .make_room = qcow2_make_room,
    .freeze = qcow2_freeze,
    .replay = qcow2_replay,
};
