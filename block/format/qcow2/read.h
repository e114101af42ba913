/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.map and driver.read.
 */
#ifndef BLOCK_FORMAT_QCOW2_READ_H
#define BLOCK_FORMAT_QCOW2_READ_H

#include "block/format/qcow2/state.h"

int qcow2_map(struct node *node, uint64_t offset, unsigned flags, struct extent *extent);
int qcow2_read(struct node *node, void *buf, uint64_t offset, uint64_t length);

#endif
