/* SPDX-License-Identifier: Apache-2.0
 *
 * Making the disk larger.
 */
#ifndef BLOCK_FORMAT_QCOW2_GROW_H
#define BLOCK_FORMAT_QCOW2_GROW_H

#include "block/format/qcow2/state.h"

/* driver.amend with a size. flush_lock held, no change under way. */
int qcow2_grow(struct node *node, int fd, const struct image_spec *spec, struct err *err);

#endif
