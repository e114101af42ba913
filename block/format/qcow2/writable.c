/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening an image for writing: autoclear bits are cleared (the data that they vouch for are not
 * kept up to date), the set of metadata clusters is built, which also finds overlapping metadata,
 * and the reference counts of a dirty image are repaired.
 */
#include "block/format/qcow2/writable.h"

#include "block/format/qcow2/header.h"
#include "block/format/qcow2/metadata.h"
#include "block/format/qcow2/repair.h"

#include <sys/stat.h>

static int metadata_collect(struct qcow2 *q)
{
    int ret = qcow2_metadata_add_range(q, q->l1_offset, q->l1_entries * sizeof(uint64_t));
    if (ret == 0)
        ret = qcow2_metadata_add_range(q, q->refcount_table_offset,
                                       q->refcount_table_entries * sizeof(uint64_t));
    if (ret == 0)
        ret = qcow2_metadata_add_range(q, q->snapshots_offset, q->snapshots_bytes);
    for (uint32_t i = 0; i < q->snapshot_count && ret == 0; i++)
        ret = qcow2_metadata_add_range(q, q->snapshots[i].l1_offset,
                                       q->snapshots[i].l1_entries * sizeof(uint64_t));
    for (uint64_t i = 0; i < q->refcount_table_known && ret == 0; i++)
        if (q->refcount_table[i])
            ret = qcow2_metadata_add_range(q, q->refcount_table[i], 1);
    for (uint32_t i = 0; i < q->l1_entries && ret == 0; i++)
        if (q->l1[i] & QCOW2_OFFSET_MASK)
            ret = qcow2_metadata_add_range(q, q->l1[i] & QCOW2_OFFSET_MASK, 1);
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

/* A table may be cut short by the end of the file: the missing part reads as zeros. */
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

/* Clusters past the end of the file read as zeros and belong to nobody: a table there cannot be
 * changed. A repair replaces refcount blocks there. */
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
    for (uint64_t i = 0; i < q->refcount_table_known; i++)
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
