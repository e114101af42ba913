/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a frozen image for writing, and the reverse.
 */
#ifndef BLOCK_FORMAT_QCOW2_THAW_H
#define BLOCK_FORMAT_QCOW2_THAW_H

#include "block/format/qcow2/state.h"

/* driver.set_writable */
int qcow2_set_writable(struct node *node, bool is_writable, const struct journal_record *records,
                       size_t count, struct err *err);

#endif
