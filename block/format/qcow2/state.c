/* SPDX-License-Identifier: Apache-2.0
 *
 * Marking an image corrupt, in memory and in the header of version 3.
 */
#include "block/format/qcow2/state.h"

#include "base/log.h"

int qcow2_corrupt(struct qcow2 *q, const char *what, uint64_t offset)
{
    if (q->is_corrupt)
        return -EIO;
    q->is_corrupt = true;
    log_error("qcow2 image is corrupt: %s at offset %llu; no change is accepted any more, run "
              "qemu-img check",
              what, (unsigned long long)offset);
    if (q->version >= 3) {
        uint64_t word = htobe64(q->incompatible | QCOW2_INCOMPATIBLE_CORRUPT);
        /* Best effort: the image rejects changes either way. */
        file_write(q->fd, &word, QCOW2_INCOMPATIBLE_FIELD, sizeof(word));
    }
    return -EIO;
}
