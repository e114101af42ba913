/* SPDX-License-Identifier: Apache-2.0
 *
 * Replaying a journal.
 */
#ifndef BLOCK_FORMAT_QCOW2_REPLAY_H
#define BLOCK_FORMAT_QCOW2_REPLAY_H

#include "block/format/qcow2/state.h"

/* Makes the recorded changes in memory (driver.set_writable). Nothing else uses the image. */
int qcow2_replay(struct node *node, const struct journal_record *records, size_t count,
                 struct err *err);

#endif
