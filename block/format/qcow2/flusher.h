/* SPDX-License-Identifier: Apache-2.0
 *
 * The flusher thread, and the room that it keeps for changes.
 */
#ifndef BLOCK_FORMAT_QCOW2_FLUSHER_H
#define BLOCK_FORMAT_QCOW2_FLUSHER_H

#include "block/format/qcow2/state.h"

/* driver.flush: writes all changed tables; after a failure that a retry may cure, the flusher
 * retries. */
int qcow2_flush(struct node *node);

/* Precedes every change: reserves `records` journal records until journal_unreserve(), and wakes
 * the flusher if it is time. Lock held. 0 or NODE_NEEDS_ROOM. */
int qcow2_reserve(struct qcow2 *q, size_t records);

/* driver.make_room */
int qcow2_make_room(struct node *node);

/* Stops the flusher. Nothing changes the image; reads may be in progress; no lock held. */
void qcow2_flusher_end(struct qcow2 *q);

/* It may be started again, after all, since the image is thawed. Lock held. */
void qcow2_flusher_reset(struct qcow2 *q);

#endif
