/* SPDX-License-Identifier: Apache-2.0
 *
 * Allocation of host clusters, and the growth of the refcount structures. All calls hold the
 * image's lock; 0 or -errno, -EAGAIN if the call would block and q->is_nonblocking.
 */
#ifndef BLOCK_FORMAT_QCOW2_ALLOCATE_H
#define BLOCK_FORMAT_QCOW2_ALLOCATE_H

#include "block/format/qcow2/state.h"

/* Allocates `count` contiguous clusters with a reference count of 1. *is_fresh: they were never
 * used and read as zeros. */
int qcow2_allocate(struct qcow2 *q, uint64_t count, uint64_t *cluster, bool *is_fresh);

/* Undoes qcow2_allocate(). Nothing references the clusters. */
void qcow2_unallocate(struct qcow2 *q, uint64_t cluster, uint64_t count);

/* Sets the count of a cluster, making its refcount block if there is none. For repair and
 * replay. */
int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t count);

/* Truncates the file to its last used cluster. No other call is in progress. */
void qcow2_file_trim(struct qcow2 *q);

#endif
