/* SPDX-License-Identifier: Apache-2.0
 *
 * Freeing host clusters after a flush.
 */
#ifndef BLOCK_FORMAT_QCOW2_RELEASE_H
#define BLOCK_FORMAT_QCOW2_RELEASE_H

#include "block/format/qcow2/state.h"

/* Drops the references in `frees`, whose removal is durable: punches holes, lowers the counts;
 * sorts `frees`. Holds neither lock nor io_lock. 0 or -errno: the rest is queued for the next
 * flush. */
int qcow2_release(struct qcow2 *q, struct qcow2_frees *frees);

#endif
