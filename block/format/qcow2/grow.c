/* SPDX-License-Identifier: Apache-2.0
 *
 * Making the disk larger, so that a power loss leaves the old size or the new one:
 *
 *     zeros over what tables name past the old end     flushed
 *     clusters for a larger L1 table                   their counts flushed
 *     the new table                                    synced
 *     one sector: size, place and length of the table  synced
 *     the old table                                    released, by the next flush
 *
 *   G1  The tables in the file are those in memory when the L1 table is copied: no change is under
 *       way, and a flush came before.
 */
#include "block/format/qcow2/grow.h"

#include "block/format/qcow2/allocate.h"
#include "block/format/qcow2/flush.h"
#include "block/format/qcow2/frees.h"
#include "block/format/qcow2/metadata.h"
#include "block/format/qcow2/read.h"
#include "block/format/qcow2/write.h"

enum { SECTOR_BYTES = 512, ZEROS_BYTES = 1 << 16 };

struct l1_table {
    uint64_t offset;
    uint64_t entries, clusters;
    uint64_t *words; /* host byte order */
    unsigned char *dirty;
};

/* ---- past the old end ---- */

static int zeros_write(struct node *node, uint64_t offset, uint64_t length)
{
    static const unsigned char zeros[ZEROS_BYTES];
    int ret = 0;
    for (uint64_t n; length && ret == 0; offset += n, length -= n) {
        n = length < ZEROS_BYTES ? length : ZEROS_BYTES;
        do {
            pthread_rwlock_rdlock(&node->io_lock);
            ret = qcow2_write_held(node, zeros, offset, n);
            pthread_rwlock_unlock(&node->io_lock);
            if (ret == NODE_NEEDS_ROOM)
                ret = qcow2_flush_tables(node) == 0 ? NODE_NEEDS_ROOM : -EIO;
        } while (ret == NODE_NEEDS_ROOM);
    }
    return ret;
}

/* The last cluster may hold anything past the end of the disk, and tables of others more. */
static int tail_zero(struct node *node, uint64_t end)
{
    int ret = 0;
    for (uint64_t at = node->size_bytes; at < end && ret == 0;) {
        struct extent extent = {.length = end - at};
        ret = qcow2_map(node, at, 0, &extent);
        if (ret == 0 && extent.kind == EXTENT_DATA)
            ret = zeros_write(node, at, extent.length);
        at += extent.length;
    }
    return ret ? ret : qcow2_flush_tables(node);
}

/* ---- the L1 table ---- */

static uint64_t l1_needed(const struct qcow2 *q, uint64_t size_bytes)
{
    uint64_t clusters = qcow2_clusters(q, size_bytes), per_table = 1ULL << q->l2_bits;
    return (clusters + per_table - 1) >> q->l2_bits;
}

static int l1_allocate_locked(struct qcow2 *q, struct l1_table *table)
{
    uint64_t first;
    bool is_fresh;
    int ret = qcow2_allocate(q, table->clusters, &first, &is_fresh);
    if (ret)
        return ret;
    for (uint64_t i = 0; i < table->clusters && ret == 0; i++)
        ret = qcow2_metadata_add(q, first + i);
    if (ret)
        qcow2_unallocate(q, first, table->clusters);
    else
        table->offset = first << q->cluster_bits;
    return ret;
}

/* Allocates clusters and memory for a table of that many entries, and copies the old ones. */
static int l1_prepare(struct qcow2 *q, struct l1_table *table, uint64_t entries)
{
    table->entries = entries;
    table->clusters = qcow2_clusters(q, entries * sizeof(uint64_t));
    table->words = calloc(table->clusters, q->cluster_bytes);
    table->dirty = calloc(1, entries + 1);
    if (!table->words || !table->dirty)
        return -ENOMEM;
    LOCK_GUARD(&q->lock);
    assert(!q->has_dirty_l1 && entries > q->l1_entries); /* G1 */
    memcpy(table->words, q->l1, q->l1_entries * sizeof(uint64_t));
    return l1_allocate_locked(q, table);
}

/* Makes the counts durable, then the table. */
static int l1_write(struct node *node, int fd, const struct l1_table *table)
{
    const struct qcow2 *q = node->state;
    uint64_t bytes = table->clusters << q->cluster_bits;
    CLEANUP_FREE uint64_t *copy = malloc(bytes);
    int ret = copy ? qcow2_flush_tables(node) : -ENOMEM;
    if (ret)
        return ret;
    for (uint64_t i = 0; i < bytes / sizeof(*copy); i++)
        copy[i] = htobe64(table->words[i]);
    ret = file_write(fd, copy, table->offset, bytes);
    return ret ? ret : node_sync(node);
}

/* After a failed sync the file may name the new table: it stays. */
static void l1_abandon(struct qcow2 *q, struct l1_table *table)
{
    LOCK_GUARD(&q->lock);
    if (table->offset && !atomic_load(&q->node->sync_error))
        qcow2_unallocate(q, table->offset >> q->cluster_bits, table->clusters);
    free(table->words);
    free(table->dirty);
}

/* Puts the table in the place of the old one, which is released. Lock held. */
static void l1_replace(struct qcow2 *q, struct l1_table *table)
{
    uint64_t first = q->l1_offset >> q->cluster_bits;
    for (uint64_t i = 0; i < qcow2_clusters(q, q->l1_entries * sizeof(uint64_t)); i++) {
        qcow2_metadata_retire(q, first + i);
        if (qcow2_release_later(q, first + i) != 0)
            break; /* the rest is leaked */
    }
    for (uint64_t i = 0; i < table->clusters; i++)
        qcow2_metadata_set_space(q, (table->offset >> q->cluster_bits) + i);
    free(q->l1);
    free(q->l1_dirty);
    q->l1 = steal(table->words);
    q->l1_dirty = steal(table->dirty);
    q->l1_offset = table->offset;
    q->l1_entries = (uint32_t)table->entries;
}

/* ---- the header ---- */

/* `table`: NULL: the old one is large enough. */
static int header_write(struct qcow2 *q, int fd, uint64_t size_bytes, const struct l1_table *table)
{
    unsigned char sector[SECTOR_BYTES];
    struct qcow2_header_be *h = (struct qcow2_header_be *)(void *)sector;
    LOCK_GUARD(&q->lock);
    int ret = file_read(fd, sector, 0, SECTOR_BYTES);
    if (ret)
        return ret;
    h->size = htobe64(size_bytes);
    if (table) {
        h->l1_size = htobe32((uint32_t)table->entries);
        h->l1_table_offset = htobe64(table->offset);
    }
    return file_write(fd, sector, 0, SECTOR_BYTES);
}

static int size_change(struct node *node, int fd, uint64_t size_bytes, struct l1_table *table)
{
    struct qcow2 *q = node->state;
    int ret = header_write(q, fd, size_bytes, table);
    if (ret == 0)
        ret = node_sync(node);
    if (ret)
        return ret;
    LOCK_GUARD(&q->lock);
    if (table)
        l1_replace(q, table);
    node->size_bytes = size_bytes;
    return 0;
}

static int grow_with_table(struct node *node, int fd, uint64_t size_bytes, uint64_t entries)
{
    struct l1_table table = {0};
    int ret = l1_prepare(node->state, &table, entries);
    if (ret == 0)
        ret = l1_write(node, fd, &table);
    if (ret == 0)
        ret = size_change(node, fd, size_bytes, &table);
    if (ret)
        l1_abandon(node->state, &table);
    return ret;
}

static int grow_refuse(const struct node *node, struct err *err, const char *why)
{
    return err_set(err, ErrInvalidValue, 0, "qcow2 image '%s' cannot become larger: %s", node->path,
                   why);
}

int qcow2_grow(struct node *node, int fd, const struct image_spec *spec, struct err *err)
{
    struct qcow2 *q = node->state;
    uint64_t needed = l1_needed(q, spec->size_bytes), covered = q->l1_entries;
    if (q->version < 3 && q->snapshot_count)
        return grow_refuse(node, err, "it has internal snapshots, of version 2");
    if (needed * sizeof(uint64_t) > QCOW2_L1_BYTES_MAX)
        return grow_refuse(node, err, "its clusters are too small for the size");
    if (fd < 0)
        return 0;
    uint64_t end = covered << (q->l2_bits + q->cluster_bits);
    int ret = tail_zero(node, end < spec->size_bytes ? end : spec->size_bytes);
    if (ret == 0)
        ret = needed > covered ? grow_with_table(node, fd, spec->size_bytes, needed)
                               : size_change(node, fd, spec->size_bytes, NULL);
    return ret ? err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot become larger",
                         node->path)
               : 0;
}
