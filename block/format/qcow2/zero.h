/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.zero, driver.zero_fast and driver.discard.
 */
#ifndef BLOCK_FORMAT_QCOW2_ZERO_H
#define BLOCK_FORMAT_QCOW2_ZERO_H

#include "block/format/qcow2/state.h"

int qcow2_zero(struct node *node, uint64_t offset, uint64_t length, bool unmap);
int qcow2_zero_fast(struct node *node, uint64_t offset, uint64_t length, bool unmap);
int qcow2_discard(struct node *node, uint64_t offset, uint64_t length);

#endif
