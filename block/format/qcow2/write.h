/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.write and driver.write_cached.
 */
#ifndef BLOCK_FORMAT_QCOW2_WRITE_H
#define BLOCK_FORMAT_QCOW2_WRITE_H

#include "block/format/qcow2/state.h"

int qcow2_write(struct node *node, const void *buf, uint64_t offset, uint64_t length);
int qcow2_write_cached(struct node *node, const void *buf, uint64_t offset, uint64_t length);

/* qcow2_write() for a caller that holds io_lock already. */
int qcow2_write_held(struct node *node, const void *buf, uint64_t offset, uint64_t length);

#endif
