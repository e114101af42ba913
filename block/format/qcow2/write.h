/* SPDX-License-Identifier: Apache-2.0
 *
 * driver.write.
 */
#ifndef BLOCK_FORMAT_QCOW2_WRITE_H
#define BLOCK_FORMAT_QCOW2_WRITE_H

#include "block/format/qcow2/state.h"

int qcow2_write(struct node *node, const void *buf, uint64_t offset, uint64_t length,
                unsigned flags);

/* driver.write_many. */
int qcow2_write_many(struct node *node, const void *buf, const struct disk_range *ranges,
                     size_t count, unsigned flags);

/* qcow2_write() for a caller that holds io_lock already. */
int qcow2_write_held(struct node *node, const void *buf, uint64_t offset, uint64_t length);

#endif
