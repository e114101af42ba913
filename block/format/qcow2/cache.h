/* SPDX-License-Identifier: Apache-2.0
 *
 * The cache of slices of L2 tables and refcount blocks. All calls hold the image's lock.
 */
#ifndef BLOCK_FORMAT_QCOW2_CACHE_H
#define BLOCK_FORMAT_QCOW2_CACHE_H

#include "block/format/qcow2/state.h"

enum { QCOW2_CACHE_SLICES_FROZEN_MAX = 256 }; /* of each image below a top */

int qcow2_cache_init(struct qcow2_cache *cache, uint32_t slice_bytes);

/* From here until it leaves, any thread that loads tables may have it evict some. */
void qcow2_cache_join(struct qcow2 *q);
void qcow2_cache_leave(struct qcow2_cache *cache);

void qcow2_cache_free(struct qcow2_cache *cache);

/* Returns the slice that contains `offset`, reading it if it is not cached. Valid until the next
 * call. 0 or -errno; -EAGAIN if that would block and q->is_nonblocking. */
int qcow2_cache_get(struct qcow2 *q, uint64_t offset, bool is_refcount, struct qcow2_slice **slice);
void qcow2_cache_dirty(struct qcow2_cache *cache, struct qcow2_slice *slice);

/* Evicts clean slices, oldest first, until fewer than `slices_max` are left. */
void qcow2_cache_shrink(struct qcow2_cache *cache, size_t slices_max);

/* Evicts all clean slices, and frees what many slices needed. */
void qcow2_cache_empty(struct qcow2_cache *cache);

/* Drops the slices of a cluster that is freed or changes its purpose. */
void qcow2_cache_drop(struct qcow2 *q, uint64_t cluster);

#endif
