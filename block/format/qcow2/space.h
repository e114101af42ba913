/* SPDX-License-Identifier: Apache-2.0
 *
 * Disk space for metadata clusters, allocated before a change in memory needs it. All calls hold
 * the image's lock; 0 or -errno, -EAGAIN if the call would block and q->is_nonblocking.
 */
#ifndef BLOCK_FORMAT_QCOW2_SPACE_H
#define BLOCK_FORMAT_QCOW2_SPACE_H

#include "block/format/qcow2/state.h"

/* Allocates the space of one cluster, or of [offset, offset + bytes). The content stays. */
int qcow2_space_take(struct qcow2 *q, uint64_t cluster);
int qcow2_space_take_run(struct qcow2 *q, uint64_t offset, uint64_t bytes);

/* Allocates the space of a new metadata cluster and zeroes it. `is_fresh`: it was never used. */
int qcow2_space_clear(struct qcow2 *q, uint64_t cluster, bool is_fresh);

#endif
