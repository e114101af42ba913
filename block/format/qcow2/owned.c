/* SPDX-License-Identifier: Apache-2.0
 *
 * The host clusters that the records of a journal own, and their counts.
 *
 * The entries cannot show one thing: a cluster that is counted but not referenced by its own chain
 * in the file may have been counted by our flush, or allocated by another program. Such a cluster
 * is doubtful; if there is one, all L2 tables in the file are read to make sure that none
 * references it.
 *
 *   O1  A cluster has one owner.
 *   O2  Nothing is written before every check has passed, but refcount blocks past the end of the
 *       file. No assert: it is the order of calls in replay.c.
 */
#include "block/format/qcow2/owned.h"

#include "block/format/qcow2/allocate.h"
#include "block/format/qcow2/compressed.h"
#include "block/format/qcow2/frees.h"
#include "block/format/qcow2/l2.h"
#include "block/format/qcow2/refcount.h"
#include "block/format/qcow2/tables.h"

int qcow2_owned_refuse(struct qcow2_owned *owned, const char *why)
{
    owned->why = why;
    return -EINVAL;
}

static struct qcow2_owned_cluster *owned_slot(const struct qcow2_owned *owned, uint64_t cluster)
{
    assert(owned->room > 0);
    size_t at = (cluster * 0x9e3779b97f4a7c15ULL >> 20) % owned->room;
    while (owned->slots[at].cluster && owned->slots[at].cluster != cluster)
        at = (at + 1) % owned->room;
    return &owned->slots[at];
}

int qcow2_owned_add(struct qcow2_owned *owned, uint64_t place, uint64_t offset, bool is_final,
                    bool is_named)
{
    const struct qcow2 *q = owned->q;
    uint64_t cluster = offset >> q->cluster_bits;
    if (offset & (q->cluster_bytes - 1))
        return qcow2_owned_refuse(owned, "its journal names an impossible offset");
    if (cluster >= q->end_cluster)
        return qcow2_owned_refuse(owned, "it has become shorter since");
    struct qcow2_owned_cluster *slot = owned_slot(owned, cluster);
    if (slot->cluster && slot->place != place)
        return qcow2_owned_refuse(owned, "its journal gives one cluster to two");
    assert(!slot->cluster || (slot->cluster == cluster && slot->place == place)); /* O1 */
    slot->cluster = cluster;
    slot->place = place;
    slot->is_final |= is_final;
    slot->is_named |= is_named;
    return 0;
}

/* Checks a word of a table in the file. `place`: whose it is; UINT64_MAX: an internal
 * snapshot's. */
static int word_check(struct qcow2_owned *owned, uint64_t word, uint64_t place)
{
    const struct qcow2 *q = owned->q;
    uint64_t offset = word & QCOW2_OFFSET_MASK, length = q->cluster_bytes;
    if (word & QCOW2_COMPRESSED)
        qcow2_compressed_range(q, word, &offset, &length);
    else if (!offset)
        return 0;
    for (uint64_t cluster = offset >> q->cluster_bits;
         cluster <= (offset + length - 1) >> q->cluster_bits; cluster++) {
        const struct qcow2_owned_cluster *slot = owned_slot(owned, cluster);
        if (slot->cluster && slot->is_doubtful && slot->place != place)
            return qcow2_owned_refuse(owned, "it was changed by another program since");
    }
    return 0;
}

/* Checks an L2 table in the file. */
static int table_check(struct qcow2_owned *owned, uint64_t table, uint64_t index, bool is_snapshot)
{
    const struct qcow2 *q = owned->q;
    if (qcow2_is_hole(q, table, q->cluster_bytes))
        return 0;
    CLEANUP_FREE uint64_t *words = malloc(q->cluster_bytes);
    if (!words)
        return -ENOMEM;
    int ret = file_read_padded(q->fd, words, table, q->cluster_bytes);
    uint64_t step = q->l2_entry_bytes / sizeof(uint64_t);
    for (uint64_t i = 0; i < q->cluster_bytes / sizeof(uint64_t) && ret == 0; i += step)
        ret = word_check(owned, be64toh(words[i]),
                         is_snapshot ? UINT64_MAX : (index << q->l2_bits) + i / step);
    return ret;
}

/* Checks the L1 table and its L2 tables, each of which it references once: qcow2_make_writable()
 * rejects others. */
static int l1_check(struct qcow2_owned *owned)
{
    const struct qcow2 *q = owned->q;
    int ret = 0;
    for (uint32_t i = 0; i < q->l1_entries && ret == 0; i++) {
        uint64_t table = q->l1[i] & QCOW2_OFFSET_MASK;
        if (!table)
            continue;
        ret = word_check(owned, q->l1[i], QCOW2_PLACE_L1 | i);
        if (ret == 0)
            ret = table_check(owned, table, i, false);
    }
    return ret;
}

/* Checks the L1 table of an internal snapshot; its L2 tables, which may be shared, are
 * collected. */
static int snapshot_check(struct qcow2_owned *owned, const struct qcow2_snapshot *snapshot,
                          struct qcow2_tables *tables)
{
    CLEANUP_FREE uint64_t *words = NULL;
    int ret = qcow2_table_load(owned->q->fd, snapshot->l1_offset, snapshot->l1_entries, &words);
    for (uint32_t i = 0; i < snapshot->l1_entries && ret == 0; i++) {
        uint64_t table = words[i] & QCOW2_OFFSET_MASK;
        ret = word_check(owned, words[i], UINT64_MAX);
        if (ret == 0 && table)
            ret = qcow2_tables_note(tables, table);
    }
    return ret;
}

static int snapshots_check(struct qcow2_owned *owned, struct qcow2_tables *tables)
{
    const struct qcow2 *q = owned->q;
    int ret = 0;
    for (uint32_t i = 0; i < q->snapshot_count && ret == 0; i++)
        ret = snapshot_check(owned, &q->snapshots[i], tables);
    for (size_t i = 0; i < tables->room && ret == 0; i++)
        if (tables->slots[i].offset)
            ret = table_check(owned, tables->slots[i].offset, 0, true);
    return ret;
}

/* No table but those of their own chain references the doubtful clusters. The L1 table in memory
 * has the new tables too. */
static int owned_check_doubtful(struct qcow2_owned *owned)
{
    struct qcow2_tables tables = {0};
    int ret = l1_check(owned);
    if (ret == 0)
        ret = snapshots_check(owned, &tables);
    qcow2_tables_free(&tables);
    return ret;
}

int qcow2_owned_check_counts(struct qcow2_owned *owned)
{
    struct qcow2 *q = owned->q;
    uint64_t count;
    for (size_t i = 0; i < owned->room; i++) {
        struct qcow2_owned_cluster *slot = &owned->slots[i];
        if (!slot->cluster)
            continue;
        int ret = qcow2_refcount_get(q, slot->cluster, &count);
        if (ret)
            return ret;
        if (count > 1 || (count == 0 && slot->is_named))
            return qcow2_owned_refuse(owned, "it was changed by another program since");
        slot->is_doubtful = count == 1 && !slot->is_named;
        owned->is_doubtful |= slot->is_doubtful;
    }
    for (size_t i = 0; i < q->frees.count; i++) {
        int ret = qcow2_refcount_get(q, q->frees.clusters[i], &count);
        if (ret)
            return ret;
        if (count == 0)
            return qcow2_owned_refuse(owned, "it was changed by another program since");
    }
    return owned->is_doubtful ? owned_check_doubtful(owned) : 0;
}

int qcow2_owned_set_counts(struct qcow2_owned *owned)
{
    struct qcow2 *q = owned->q;
    /* Missing refcount blocks go past the end: not every cluster that a record names is counted
     * yet. */
    q->free_hint = q->end_cluster;
    int ret = 0;
    for (size_t i = 0; i < owned->room && ret == 0; i++) {
        const struct qcow2_owned_cluster *slot = &owned->slots[i];
        uint64_t count = 0;
        if (!slot->cluster)
            continue;
        ret = qcow2_refcount_get(q, slot->cluster, &count);
        if (ret == 0 && count == 0)
            ret = qcow2_refcount_set(q, slot->cluster, 1);
        if (ret == 0 && !slot->is_final)
            ret = qcow2_release_later(q, slot->cluster);
    }
    q->free_hint = 0;
    return ret;
}
