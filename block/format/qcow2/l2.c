/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries of L2 tables: look-up, validation, change; and making a table writable.
 *
 *     standard     63 copied | 62 compressed | 55..9 host offset | 0 reads as zeros (version 3)
 *     extended     without bit 0, then a word: 63..32 subcluster is zeros, 31..0 is allocated
 *
 * An L1 entry without the copied flag references a table that an internal snapshot shares: the
 * table is copied before it is changed.
 *
 *   E1  Every change of an entry is in the journal, with a record reserved, before it is in memory.
 *       No assert here: journal_append() has it (J4).
 *   E2  Only a table that is referenced once is changed: its L1 entry has the copied flag.
 *   E3  Every change of what map() returns is reported (node_map_changed) under io_lock. No assert:
 *       a read-write lock does not know its readers.
 */
#include "block/format/qcow2/l2.h"

#include "block/format/qcow2/allocate.h"
#include "block/format/qcow2/cache.h"
#include "block/format/qcow2/compressed.h"
#include "block/format/qcow2/frees.h"
#include "block/format/qcow2/metadata.h"
#include "block/format/qcow2/space.h"

static uint64_t l1_index(const struct qcow2 *q, uint64_t offset)
{
    return offset >> (q->cluster_bits + q->l2_bits);
}

static uint64_t l2_index(const struct qcow2 *q, uint64_t offset)
{
    return offset >> q->cluster_bits & ((1ULL << q->l2_bits) - 1);
}

/* Returns the host offset of the L2 table for guest `offset`; 0 if there is none. 0 or -EIO. */
static int table_offset(struct qcow2 *q, uint64_t offset, uint64_t *table)
{
    uint64_t index = l1_index(q, offset);
    *table = 0;
    if (index >= q->l1_entries)
        return 0;
    *table = q->l1[index] & QCOW2_OFFSET_MASK;
    if (q->l1[index] & QCOW2_L1_RESERVED || *table & (q->cluster_bytes - 1))
        return -EIO;
    return 0;
}

/* The offset of the entry in the file. */
static uint64_t entry_place(const struct qcow2 *q, uint64_t table, uint64_t offset)
{
    return table + l2_index(q, offset) * q->l2_entry_bytes;
}

static uint64_t *slice_words(const struct qcow2 *q, struct qcow2_slice *slice, uint64_t place)
{
    return (uint64_t *)(void *)(slice->bytes + place % q->cache.slice_bytes);
}

static int entry_slice(struct qcow2 *q, uint64_t table, uint64_t offset, struct qcow2_slice **slice,
                       uint64_t **words)
{
    uint64_t place = entry_place(q, table, offset);
    int ret = qcow2_cache_get(q, place, false, slice);
    if (ret == 0)
        *words = slice_words(q, *slice, place);
    return ret;
}

int qcow2_entry_get(struct qcow2 *q, uint64_t offset, struct qcow2_entry *entry)
{
    struct qcow2_slice *slice;
    uint64_t table, *words;
    *entry = (struct qcow2_entry){0};
    int ret = table_offset(q, offset, &table);
    if (ret || !table)
        return ret;
    ret = entry_slice(q, table, offset, &slice, &words);
    if (ret == 0)
        *entry = qcow2_entry_decode(q, words);
    return ret;
}

/* The bytes from `offset` on, whose L2 table is absent, to the next table that exists. */
static uint64_t absent_bytes(const struct qcow2 *q, uint64_t offset)
{
    enum { TABLES_MAX = 1024 }; /* per look-up */
    unsigned table_bits = q->cluster_bits + q->l2_bits;
    uint64_t first = l1_index(q, offset), index = first;
    do
        index++;
    while (index < q->l1_entries && index - first < TABLES_MAX && !q->l1[index]);
    if (index >= q->l1_entries)
        return UINT64_MAX - offset;
    return (index << table_bits) - offset;
}

int qcow2_entries_get(struct qcow2 *q, uint64_t offset, const uint64_t **words, uint64_t *length)
{
    struct qcow2_slice *slice;
    uint64_t table, *found;
    *words = NULL;
    int ret = table_offset(q, offset, &table);
    if (ret)
        return ret;
    if (!table) {
        *length = absent_bytes(q, offset);
        return 0;
    }
    ret = entry_slice(q, table, offset, &slice, &found);
    if (ret)
        return ret;
    uint64_t reach = q->cache.slice_bytes / q->l2_entry_bytes * q->cluster_bytes;
    *words = found;
    *length = reach - offset % reach;
    return 0;
}

/* Reports the range from the first to the last subcluster that has changed. */
static void entry_report_change(const struct qcow2 *q, uint64_t offset, struct qcow2_entry old,
                                struct qcow2_entry entry)
{
    offset -= offset % q->cluster_bytes;
    uint64_t bits = QCOW2_BITMAP_ALL, unit = q->subcluster_bytes;
    if (!q->has_extended_l2 || (old.word | entry.word) & QCOW2_COMPRESSED) {
        node_map_changed(q->node, offset, q->cluster_bytes);
        return;
    }
    bits = old.bitmap ^ entry.bitmap;
    if (old.word != entry.word) /* the cluster has moved */
        bits |= (old.bitmap | entry.bitmap) & QCOW2_BITMAP_ALL;
    bits = (bits | bits >> 32) & QCOW2_BITMAP_ALL;
    if (!bits)
        return;
    unsigned first = (unsigned)__builtin_ctzll(bits), last = 63 - (unsigned)__builtin_clzll(bits);
    node_map_changed(q->node, offset + first * unit, (last - first + 1) * unit);
}

int qcow2_entry_set(struct qcow2 *q, uint64_t offset, struct qcow2_entry entry)
{
    struct qcow2_slice *slice;
    uint64_t table, *words;
    int ret = table_offset(q, offset, &table);
    if (ret)
        return ret;
    assert(table && q->l1[l1_index(q, offset)] & QCOW2_COPIED); /* E2 */
    ret = qcow2_space_take(q, table >> q->cluster_bits);        /* allocates only in a replay */
    if (ret)
        return ret;
    ret = entry_slice(q, table, offset, &slice, &words);
    if (ret)
        return ret;
    struct qcow2_entry old = qcow2_entry_decode(q, words);
    journal_append(q->node->journal, offset >> q->cluster_bits, (uint64_t[2]){old.word, old.bitmap},
                   (uint64_t[2]){entry.word, q->has_extended_l2 ? entry.bitmap : 0});
    words[0] = htobe64(entry.word);
    if (q->has_extended_l2)
        words[1] = htobe64(entry.bitmap);
    qcow2_cache_dirty(&q->cache, slice);
    entry_report_change(q, offset, old, entry);
    return 0;
}

int qcow2_entry_kind(struct qcow2 *q, struct qcow2_entry entry, uint64_t offset,
                     enum qcow2_kind *kind, uint64_t *host)
{
    *host = 0;
    *kind = QCOW2_DATA_COMPRESSED;
    if (entry.word & QCOW2_COMPRESSED)
        return 0;
    uint64_t reserved = QCOW2_L2_RESERVED | (q->has_extended_l2 || q->version < 3 ? QCOW2_ZERO : 0);
    uint64_t cluster = entry.word & QCOW2_OFFSET_MASK, in_cluster = offset % q->cluster_bytes;
    if (entry.word & reserved || cluster & (q->cluster_bytes - 1))
        return -EIO;
    bool is_zero = entry.word & QCOW2_ZERO, is_allocated = cluster != 0;
    if (q->has_extended_l2) {
        uint64_t bits = entry.bitmap >> (in_cluster / q->subcluster_bytes);
        is_zero = bits >> 32 & 1;
        is_allocated = bits & 1;
        if (is_allocated && (is_zero || !cluster))
            return -EIO;
    }
    *kind = is_zero ? QCOW2_ZEROS : is_allocated ? QCOW2_DATA : QCOW2_UNALLOCATED;
    if (*kind == QCOW2_DATA)
        *host = cluster + in_cluster;
    return 0;
}

int qcow2_entry_check_change(struct qcow2 *q, struct qcow2_entry entry, uint64_t at)
{
    uint64_t host = entry.word & QCOW2_OFFSET_MASK, length;
    if (entry.word & QCOW2_COMPRESSED)
        qcow2_compressed_range(q, entry.word, &host, &length);
    if (host >> q->cluster_bits < q->end_cluster)
        return 0;
    return qcow2_corrupt(q, "data past the end of the file belong to the guest", at);
}

/* Copies the table at `from` into `cluster`, or zeroes the cluster if `from` is 0. */
static int table_fill(struct qcow2 *q, uint64_t cluster, uint64_t from, bool is_fresh)
{
    if (!from)
        return qcow2_space_clear(q, cluster, is_fresh);
    CLEANUP_FREE unsigned char *bytes = malloc(q->cluster_bytes);
    if (!bytes)
        return -ENOMEM;
    for (uint64_t at = 0; at < q->cluster_bytes; at += q->cache.slice_bytes) {
        struct qcow2_slice *slice; /* may be newer than the file */
        int ret = qcow2_cache_get(q, from + at, false, &slice);
        if (ret)
            return ret;
        memcpy(bytes + at, slice->bytes, q->cache.slice_bytes);
    }
    qcow2_cache_drop(q, cluster);
    int ret = file_write(q->fd, bytes, cluster << q->cluster_bits, q->cluster_bytes);
    if (ret == 0)
        qcow2_metadata_set_space(q, cluster);
    return ret;
}

/* Replaces an L1 entry that has no table of its own: `old` is the shared table, or 0. */
static int table_replace(struct qcow2 *q, uint64_t index, uint64_t old)
{
    uint64_t cluster;
    bool is_fresh;
    int ret = qcow2_allocate(q, 1, &cluster, &is_fresh);
    if (ret)
        return ret;
    /* Written now; the flush that writes the L1 entry syncs it first (W1). */
    ret = qcow2_metadata_add(q, cluster);
    if (ret == 0)
        ret = table_fill(q, cluster, old, is_fresh);
    if (ret == 0 && old)
        ret = qcow2_release_later(q, old >> q->cluster_bits);
    if (ret) {
        qcow2_unallocate(q, cluster, 1);
        return ret;
    }
    uint64_t word = cluster << q->cluster_bits | QCOW2_COPIED;
    journal_append(q->node->journal, QCOW2_PLACE_L1 | index, (uint64_t[2]){q->l1[index]},
                   (uint64_t[2]){word});
    q->l1[index] = word;
    q->l1_dirty[index] = q->has_dirty_l1 = true; /* S6 */
    qcow2_metadata_retire(q, old >> q->cluster_bits);
    return 0;
}

int qcow2_table_make_writable(struct qcow2 *q, uint64_t offset)
{
    uint64_t index = l1_index(q, offset), old;
    assert(index < q->l1_entries); /* the L1 table covers the disk, and node.c checks ranges */
    int ret = table_offset(q, offset, &old);
    if (ret)
        return qcow2_corrupt(q, "impossible L1 entry", index);
    if (old && (q->l1[index] & QCOW2_COPIED))
        return qcow2_space_take(q, old >> q->cluster_bits);
    if (q->is_nonblocking)
        return -EAGAIN;
    ret = qcow2_space_take(q, (q->l1_offset + index * sizeof(uint64_t)) >> q->cluster_bits);
    return ret ? ret : table_replace(q, index, old);
}

int qcow2_entry_release(struct qcow2 *q, struct qcow2_entry entry)
{
    uint64_t offset = entry.word & QCOW2_OFFSET_MASK, length = q->cluster_bytes;
    if (entry.word & QCOW2_COMPRESSED)
        qcow2_compressed_range(q, entry.word, &offset, &length);
    else if (!offset)
        return 0;
    for (uint64_t cluster = offset >> q->cluster_bits;
         cluster <= (offset + length - 1) >> q->cluster_bits; cluster++) {
        int ret = qcow2_release_later(q, cluster);
        if (ret)
            return ret; /* the rest is leaked */
    }
    return 0;
}
