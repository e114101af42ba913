/* SPDX-License-Identifier: Apache-2.0
 *
 * Freezing, thawing and replaying: what turns an open image into one that is written, or back.
 *
 * A frozen image keeps its header's fields, its L1 table and its refcount table, which nobody
 * changes meanwhile. It has no flusher, and caches the few slices that were read last. A thaw
 * builds what only changes need: the set of metadata clusters and the end of the file. Reads go on:
 * they use neither, and what they use does not change. Releases that an earlier thaw had to keep
 * are still queued (flush.c, W6).
 */
#include "block/format/qcow2/thaw.h"

#include "block/format/qcow2/cache.h"
#include "block/format/qcow2/flusher.h"
#include "block/format/qcow2/replay.h"
#include "block/format/qcow2/writable.h"

static void qcow2_freeze(struct qcow2 *q)
{
    qcow2_flusher_end(q);
    LOCK_GUARD(&q->lock);
    qcow2_cache_empty(&q->cache);
    free(q->metadata.clusters);
    q->metadata = (struct qcow2_metadata){0};
}

static int qcow2_thaw(struct node *node, struct err *err)
{
    struct qcow2 *q = node->state;
    LOCK_GUARD(&q->lock);
    if (q->is_corrupt || q->incompatible & (QCOW2_INCOMPATIBLE_DIRTY | QCOW2_INCOMPATIBLE_CORRUPT))
        return err_set(err, ErrInvalidBlockFormat, 0,
                       "qcow2 image '%s' is dirty or corrupt, so it cannot be written to; run "
                       "qemu-img check -r all",
                       node->path);
    free(q->metadata.clusters); /* of a thaw that failed: tables may have been made since */
    q->metadata = (struct qcow2_metadata){0};
    if (qcow2_make_writable(node, err) != 0)
        return -1;
    qcow2_flusher_reset(q);
    return 0;
}

int qcow2_set_writable(struct node *node, bool is_writable, const struct journal_record *records,
                       size_t count, struct err *err)
{
    if (is_writable)
        return records ? qcow2_replay(node, records, count, err) : qcow2_thaw(node, err);
    assert(!records);
    qcow2_freeze(node->state);
    return 0;
}
