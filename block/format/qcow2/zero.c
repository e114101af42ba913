/* SPDX-License-Identifier: Apache-2.0
 *
 * Zeroing and discarding.
 *
 *     offset        first                                last         end
 *       |-- written --|--- whole units: entries change ---|-- written --|     zero
 *       |-- kept -----|--- whole clusters: released ------|-- kept -----|     discard
 *
 * What a whole unit becomes:
 *
 *     version 2, no backing file     unallocated
 *     version 2, backing file        zeros are written: there is no zero flag; discard does nothing
 *     version 3, space released      unallocated if there is no backing file, else the zero flag
 *     version 3, space kept          the zero flag beside the cluster; without one, zeros
 *
 * An entry changes under the lock and a range lock. A request may be as long as the disk, so
 * between two clusters it lets a flush acquire io_lock, for which all other requests would wait as
 * well.
 */
#include "block/format/qcow2/zero.h"

#include "block/format/qcow2/flusher.h"
#include "block/format/qcow2/l2.h"
#include "block/format/qcow2/range-lock.h"
#include "block/format/qcow2/read.h"
#include "block/format/qcow2/write.h"

enum { NEEDS_DATA = 1 }; /* beside NODE_NEEDS_ROOM */

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

/* The entry of a cluster that reads as zeros and occupies no space. */
static struct qcow2_entry empty_entry(const struct qcow2 *q)
{
    if (!q->has_backing)
        return (struct qcow2_entry){0};
    if (q->has_extended_l2)
        return (struct qcow2_entry){.bitmap = QCOW2_BITMAP_ALL << 32};
    return (struct qcow2_entry){.word = QCOW2_ZERO};
}

static bool is_ours(struct qcow2_entry entry)
{
    return qcow2_entry_host(entry) && entry.word & QCOW2_COPIED;
}

/* Replaces the entry, if it differs, and releases the cluster of the old one. Lock held. */
static int entry_replace(struct qcow2 *q, uint64_t at, struct qcow2_entry old,
                         struct qcow2_entry entry)
{
    if (old.word == entry.word && old.bitmap == entry.bitmap)
        return 0;
    int ret = qcow2_table_make_writable(q, at);
    if (ret == 0)
        ret = qcow2_entry_set(q, at, entry);
    if (ret == 0 && qcow2_entry_host(entry) != qcow2_entry_host(old))
        return qcow2_entry_release(q, old);
    return ret || !(old.word & QCOW2_COMPRESSED) ? ret : qcow2_entry_release(q, old);
}

/* Zeroes the units [at, end) of one cluster with its zero flags. NEEDS_DATA if it has none or no
 * cluster. */
static int flags_zero(struct qcow2 *q, uint64_t at, uint64_t end, bool unmap,
                      struct qcow2_entry old)
{
    struct qcow2_entry entry = old;
    if (q->version < 3 || (!is_ours(old) && (!q->has_extended_l2 || !unmap || old.word)))
        return NEEDS_DATA;
    if (q->has_extended_l2) {
        uint64_t first = at % q->cluster_bytes / q->subcluster_bytes;
        uint64_t count = (end - at) / q->subcluster_bytes;
        assert(count > 0 && first + count <= QCOW2_SUBCLUSTERS);
        uint64_t bits = (QCOW2_BITMAP_ALL >> (QCOW2_SUBCLUSTERS - count)) << first;
        entry.bitmap = (old.bitmap | bits << 32) & ~bits;
    } else {
        entry.word |= QCOW2_ZERO;
    }
    return entry_replace(q, at, old, entry);
}

/* Zeroes the units [at, end) of one cluster by its entry, else NEEDS_DATA. Lock and range lock
 * held. */
static int cluster_zero(struct qcow2 *q, uint64_t at, uint64_t end, bool unmap)
{
    struct qcow2_entry old;
    assert(at < end && at >> q->cluster_bits == (end - 1) >> q->cluster_bits);
    int ret = qcow2_entry_get(q, at, &old);
    if (ret == 0)
        ret = qcow2_entry_check_change(q, old, at);
    if (ret)
        return ret;
    if (unmap && end - at == q->cluster_bytes)
        return entry_replace(q, at, old, empty_entry(q));
    return flags_zero(q, at, end, unmap, old);
}

/* Releases the whole cluster. Data of the backing file stay readable. Lock and range lock held. */
static int cluster_discard(struct qcow2 *q, uint64_t at)
{
    struct qcow2_entry old;
    int ret = qcow2_entry_get(q, at, &old);
    if (ret == 0)
        ret = qcow2_entry_check_change(q, old, at);
    if (ret || (!old.word && !old.bitmap))
        return ret;
    return entry_replace(q, at, old, empty_entry(q));
}

/* The end of the L2 table of `at` if there is none, so that nothing can change there; else `at`. */
static uint64_t skip_empty(struct qcow2 *q, uint64_t at)
{
    LOCK_GUARD(&q->lock);
    uint64_t table_bytes = q->cluster_bytes << q->l2_bits, index = at / table_bytes;
    return index < q->l1_entries && q->l1[index] ? at : (index + 1) * table_bytes;
}

/* Zeroes or discards one cluster under its range lock. 0, NEEDS_DATA, NODE_NEEDS_ROOM or -errno. */
static int cluster_change(struct qcow2 *q, uint64_t at, uint64_t end, bool unmap, bool discard)
{
    LOCK_GUARD(&q->lock);
    if (q->is_corrupt)
        return -EIO;
    struct qcow2_range_lock range = {.first = at >> q->cluster_bits, .last = at >> q->cluster_bits};
    qcow2_range_lock_begin(q, &range);
    const size_t records = 2; /* one for the table, one for the cluster */
    int ret = qcow2_reserve(q, records);
    if (ret == 0) {
        ret = discard ? cluster_discard(q, at) : cluster_zero(q, at, end, unmap);
        journal_unreserve(q->node->journal, records);
    }
    qcow2_range_lock_end(q, &range);
    return ret;
}

/* Between clusters: nothing read from the tables is used any more. */
static void let_flush_in(struct node *node)
{
    pthread_rwlock_unlock(&node->io_lock);
    pthread_rwlock_rdlock(&node->io_lock);
}

/* ---- zeros as data ---- */

/* Writes zeros over [at, end), except where it reads as zeros already and space may be released. */
static int zeros_write(struct node *node, uint64_t at, uint64_t end, bool unmap)
{
    struct qcow2 *q = node->state;
    if (end > node->size_bytes)
        end = node->size_bytes;
    CLEANUP_FREE char *zeros = calloc(1, q->cluster_bytes);
    if (!zeros)
        return -ENOMEM;
    while (at < end) {
        uint64_t n = end - at < q->cluster_bytes ? end - at : q->cluster_bytes;
        struct extent extent = {.length = n};
        int ret = qcow2_map(node, at, 0, &extent);
        bool is_zero =
            extent.kind == EXTENT_ZERO || (extent.kind == EXTENT_BACKING && !q->has_backing);
        if (ret == 0 && !(is_zero && unmap))
            ret = qcow2_write_held(node, zeros, at, extent.length);
        if (ret)
            return ret;
        at += extent.length;
        let_flush_in(node);
    }
    return 0;
}

/* Zeroes the units [at, last) by their entries where that is possible. */
static int units_zero(struct node *node, uint64_t at, uint64_t last, bool unmap)
{
    struct qcow2 *q = node->state;
    int ret = 0;
    for (uint64_t next; at < last && ret == 0; at = next) {
        uint64_t skipped = unmap && !q->has_backing ? skip_empty(q, at) : at;
        next = skipped != at ? skipped : (at | (q->cluster_bytes - 1)) + 1;
        if (next > last)
            next = last;
        if (skipped != at)
            continue;
        ret = cluster_change(q, at, next, unmap, false);
        if (ret == NEEDS_DATA)
            ret = zeros_write(node, at, next, unmap);
        let_flush_in(node);
    }
    return ret;
}

static int zero_held(struct node *node, uint64_t offset, uint64_t end, bool unmap)
{
    struct qcow2 *q = node->state;
    uint64_t unit = q->version < 3 ? q->cluster_bytes : q->subcluster_bytes;
    uint64_t first = round_up(offset, unit);
    uint64_t last = end == node->size_bytes ? round_up(end, unit) : end / unit * unit;
    assert(offset < end && end <= node->size_bytes);
    if (first >= last || (q->version < 3 && (q->has_backing || !unmap)))
        return zeros_write(node, offset, end, unmap);
    int ret = zeros_write(node, offset, first, unmap);
    if (ret == 0)
        ret = units_zero(node, first, last, unmap);
    return ret || last >= end ? ret : zeros_write(node, last, end, unmap);
}

/* Whole clusters that may be freed become zeros by their entries alone. */
static bool zero_is_fast(const struct node *node, uint64_t offset, uint64_t end, unsigned flags)
{
    const struct qcow2 *q = node->state;
    bool is_whole =
        offset % q->cluster_bytes == 0 && (end % q->cluster_bytes == 0 || end == node->size_bytes);
    return is_whole && flags & ZERO_UNMAP && !(q->version < 3 && q->has_backing);
}

static int discard_held(struct node *node, uint64_t offset, uint64_t end)
{
    struct qcow2 *q = node->state;
    uint64_t last = end == node->size_bytes ? round_up(end, q->cluster_bytes)
                                            : end / q->cluster_bytes * q->cluster_bytes;
    int ret = 0;
    for (uint64_t at = round_up(offset, q->cluster_bytes); at < last && ret == 0;) {
        uint64_t skipped = skip_empty(q, at);
        if (skipped != at) {
            at = skipped;
            continue;
        }
        ret = cluster_change(q, at, at + q->cluster_bytes, true, true);
        at += q->cluster_bytes;
        let_flush_in(node);
    }
    return ret;
}

int qcow2_zero(struct node *node, uint64_t offset, uint64_t length, unsigned flags)
{
    const struct qcow2 *q = node->state;
    uint64_t end = offset + length;
    if (flags & ZERO_DISCARD && q->version < 3 && q->has_backing)
        return 0;
    if (flags & ZERO_FAST && !zero_is_fast(node, offset, end, flags))
        return -EOPNOTSUPP;
    pthread_rwlock_rdlock(&node->io_lock);
    int ret = flags & ZERO_DISCARD ? discard_held(node, offset, end)
                                   : zero_held(node, offset, end, flags & ZERO_UNMAP);
    pthread_rwlock_unlock(&node->io_lock);
    return ret;
}
