/* SPDX-License-Identifier: Apache-2.0
 *
 * See write-back.h.
 */
#include "block/job/write-back.h"

#include <errno.h>
#include <fcntl.h>

enum {
    WRITE_BACK_BYTES = 2 << 20, /* begun after so many: what the kernel does at once */
    OUTSTANDING_BYTES = 24 << 20,
};

static bool is_unsupported(int errnum)
{
    return errnum == ENOSYS || errnum == EINVAL || errnum == ESPIPE || errnum == EOPNOTSUPP;
}

/* Who waits for write-back is told of its errors, and the next fdatasync is not: they count as one
 * of a sync. */
int write_back_pace(struct write_back *write_back, struct node *node, uint64_t bytes)
{
    write_back->written_bytes += bytes;
    if (write_back->written_bytes < WRITE_BACK_BYTES)
        return 0;
    write_back->outstanding_bytes += write_back->written_bytes;
    write_back->written_bytes = 0;
    bool waits = write_back->outstanding_bytes >= OUTSTANDING_BYTES;
    if (waits)
        write_back->outstanding_bytes = 0;
    unsigned flags = SYNC_FILE_RANGE_WRITE | (waits ? SYNC_FILE_RANGE_WAIT_BEFORE : 0);
    if (sync_file_range(node->fd, 0, 0, flags) == 0 || is_unsupported(errno))
        return waits;
    int errnum = errno;
    if (waits)
        node_sync_failed(node, errnum);
    return -errnum;
}

int write_back_report(const struct node *node, int ret, struct err *err)
{
    return err_set(err, atomic_load(&node->sync_error) ? ErrUnflushedData : ErrOpenFileFailed, -ret,
                   "image '%s' cannot be made durable", node->path);
}
