/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.zero.
 */
#ifndef BLOCK_FORMAT_QCOW2_ZERO_H
#define BLOCK_FORMAT_QCOW2_ZERO_H

#include "block/format/qcow2/state.h"

int qcow2_zero(struct node *node, uint64_t offset, uint64_t length, unsigned flags);

#endif
