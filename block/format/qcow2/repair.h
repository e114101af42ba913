/* SPDX-License-Identifier: Apache-2.0
 *
 * Repair of a dirty image.
 */
#ifndef BLOCK_FORMAT_QCOW2_REPAIR_H
#define BLOCK_FORMAT_QCOW2_REPAIR_H

#include "block/format/qcow2/state.h"

/* Makes all reference counts right and clears the dirty bit. The image is open for writing, and
 * nothing else uses it. */
int qcow2_repair(struct node *node, struct err *err);

#endif
