/* SPDX-License-Identifier: Apache-2.0
 *
 * Compressed clusters.
 */
#ifndef BLOCK_FORMAT_QCOW2_COMPRESSED_H
#define BLOCK_FORMAT_QCOW2_COMPRESSED_H

#include "block/format/qcow2/state.h"

/* The byte range of the file that the compressed cluster of an L2 entry occupies. */
void qcow2_compressed_range(const struct qcow2 *q, uint64_t word, uint64_t *offset,
                            uint64_t *length);

/* Decompresses the whole cluster into `buf`. 0 or -errno. */
int qcow2_compressed_read(const struct qcow2 *q, uint64_t word, unsigned char *buf);

#endif
