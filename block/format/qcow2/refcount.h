/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference counts of host clusters that have a refcount block. All calls hold the image's lock.
 */
#ifndef BLOCK_FORMAT_QCOW2_REFCOUNT_H
#define BLOCK_FORMAT_QCOW2_REFCOUNT_H

#include "block/format/qcow2/cache.h"

/* The number of clusters that one refcount block counts. */
static inline uint64_t qcow2_refcounts_per_block(const struct qcow2 *q)
{
    return q->cluster_bytes * 8 >> q->refcount_order;
}

static inline bool qcow2_refcount_has_block(const struct qcow2 *q, uint64_t cluster)
{
    return qcow2_refcount_block(q, cluster / qcow2_refcounts_per_block(q));
}

/* Returns the cluster's count; 0 if it has no block. 0 or -errno. */
int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *count);

/* Sets the cluster's count. Its block exists. 0 or -errno. */
int qcow2_refcount_put(struct qcow2 *q, uint64_t cluster, uint64_t count);

/* The number of clusters from `cluster` on, at most `limit`, that are alike, free or not, as far as
 * one slice shows. 0 or -errno. */
int qcow2_refcount_run(struct qcow2 *q, uint64_t cluster, uint64_t limit, bool *is_free,
                       uint64_t *count);

/* Subtracts `references` from the count. At 0 the cluster is free. 0 or -errno; -EIO and the image
 * is corrupt if the count is lower. */
int qcow2_refcount_drop(struct qcow2 *q, uint64_t cluster, uint64_t references);

#endif
