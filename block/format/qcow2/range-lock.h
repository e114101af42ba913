/* SPDX-License-Identifier: Apache-2.0
 *
 * Range locks: exclusive access to the entries of guest clusters. All calls hold the image's lock.
 */
#ifndef BLOCK_FORMAT_QCOW2_RANGE_LOCK_H
#define BLOCK_FORMAT_QCOW2_RANGE_LOCK_H

#include "block/format/qcow2/state.h"

/* Whether another request holds a cluster of [first, last]. */
bool qcow2_range_is_locked(const struct qcow2 *q, uint64_t first, uint64_t last);

/* Locks [range->first, range->last]; waits while a cluster of it is locked. */
void qcow2_range_lock_begin(struct qcow2 *q, struct qcow2_range_lock *range);

/* Extends a lock that was begun last, and without a wait since, to `last`. No other lock is in the
 * way. */
void qcow2_range_lock_extend(struct qcow2 *q, struct qcow2_range_lock *range, uint64_t last);

void qcow2_range_lock_end(struct qcow2 *q, struct qcow2_range_lock *range);

#endif
