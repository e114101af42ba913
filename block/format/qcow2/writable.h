/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening an image for writing.
 */
#ifndef BLOCK_FORMAT_QCOW2_WRITABLE_H
#define BLOCK_FORMAT_QCOW2_WRITABLE_H

#include "block/format/qcow2/state.h"

/* Validates what only changes rely on, builds the set of metadata clusters, clears the autoclear
 * bits, repairs a dirty image. Nothing else uses the image. */
int qcow2_make_writable(struct node *node, struct err *err);

#endif
