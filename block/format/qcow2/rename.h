/* SPDX-License-Identifier: Apache-2.0
 *
 * Naming another backing file in the header.
 */
#ifndef BLOCK_FORMAT_QCOW2_RENAME_H
#define BLOCK_FORMAT_QCOW2_RENAME_H

#include "block/format/qcow2/state.h"

/* driver.amend with a backing file. flush_lock held. */
int qcow2_rename(struct node *node, int fd, const struct image_spec *spec, struct err *err);

#endif
