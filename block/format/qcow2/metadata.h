/* SPDX-License-Identifier: Apache-2.0
 *
 * The set of host clusters that hold metadata. All calls hold the image's lock.
 */
#ifndef BLOCK_FORMAT_QCOW2_METADATA_H
#define BLOCK_FORMAT_QCOW2_METADATA_H

#include "block/format/qcow2/state.h"

/* Adds a cluster. 0 or -ENOMEM. */
int qcow2_metadata_add(struct qcow2 *q, uint64_t cluster);

/* Adds the clusters of [offset, offset + bytes). -EEXIST if one is in the set already. */
int qcow2_metadata_add_range(struct qcow2 *q, uint64_t offset, uint64_t bytes);

void qcow2_metadata_remove(struct qcow2 *q, uint64_t cluster);
bool qcow2_metadata_has(const struct qcow2 *q, uint64_t cluster, uint64_t count);

/* A table has moved away: its old cluster stays in the set until its last reference is dropped. */
void qcow2_metadata_retire(struct qcow2 *q, uint64_t cluster);
bool qcow2_metadata_is_retired(const struct qcow2 *q, uint64_t cluster);

/* Whether the cluster's disk space is known to be allocated (space.c). */
bool qcow2_metadata_has_space(const struct qcow2 *q, uint64_t cluster);
void qcow2_metadata_set_space(struct qcow2 *q, uint64_t cluster);

#endif
