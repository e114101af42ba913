/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue of references to drop after the next flush.
 */
#ifndef BLOCK_FORMAT_QCOW2_FREES_H
#define BLOCK_FORMAT_QCOW2_FREES_H

#include "block/format/qcow2/state.h"

/* Queues one reference to the cluster. Lock held. 0 or -ENOMEM: the cluster is leaked. */
int qcow2_release_later(struct qcow2 *q, uint64_t cluster);

#endif
