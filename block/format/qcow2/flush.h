/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing the changed tables back.
 */
#ifndef BLOCK_FORMAT_QCOW2_FLUSH_H
#define BLOCK_FORMAT_QCOW2_FLUSH_H

#include "block/format/qcow2/state.h"

/* Dirty slices: above the first number the flusher flushes; above the second, changes wait for a
 * flush. */
enum { QCOW2_FLUSH_AT = 1024, QCOW2_FLUSH_FIRST = 3072 };

/* Makes every change that was complete before the call durable. flush_lock held. 0 or -errno; after
 * a failure q->flusher.must_retry says whether a retry may succeed. */
int qcow2_flush_tables(struct node *node);

/* Recomputes flusher.is_full after dirty slices or free journal records changed. Lock held. */
void qcow2_room_update(struct qcow2 *q);

#endif
