/* SPDX-License-Identifier: Apache-2.0
 *
 * The header and the tables that it leads to.
 */
#ifndef BLOCK_FORMAT_QCOW2_HEADER_H
#define BLOCK_FORMAT_QCOW2_HEADER_H

#include "block/format/qcow2/state.h"

/* Reads and validates the header and every table that it references. */
int qcow2_header_load(struct node *node, struct qcow2 *q, struct err *err);

/* Writes one of the feature words and syncs. 0 or -errno. */
int qcow2_header_store_features(struct node *node, uint64_t field, uint64_t value);

#endif
