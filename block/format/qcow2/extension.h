/* SPDX-License-Identifier: Apache-2.0
 *
 * Header extensions.
 */
#ifndef BLOCK_FORMAT_QCOW2_EXTENSION_H
#define BLOCK_FORMAT_QCOW2_EXTENSION_H

#include "block/format/qcow2/state.h"

/* Reads the type and length of the extension at *at, whose data end before `limit`, and moves *at
 * to the data. QCOW2_EXTENSION_END where no extension fits. 0 or -errno; -EINVAL: it is longer than
 * the header. */
int qcow2_extension_read(int fd, uint64_t *at, uint64_t limit, uint32_t *type, uint32_t *length);

/* Reads an extension's data and appends a zero byte; heap, NULL on failure. */
unsigned char *qcow2_extension_data(int fd, uint64_t at, uint32_t length);

/* The offset of the extension after the one whose data begin at `at`. */
static inline uint64_t qcow2_extension_next(uint64_t at, uint32_t length)
{
    return at + (((uint64_t)length + 7) & ~7ULL);
}

/* driver.group_id */
int qcow2_group_id(int fd, unsigned char id[OWNER_ID_BYTES]);

#endif
