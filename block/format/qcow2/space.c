/* SPDX-License-Identifier: Apache-2.0
 *
 * Space for tables, taken before anything that needs them is acknowledged.
 *
 * Tables are changed in memory and written by a flush. If the file had holes there, a flush could find the disk full,
 * with writes acknowledged long before. So the space of a cluster of tables is taken at its first change since the
 * image was opened, by the request that makes it, and that request is told ENOSPC:
 *
 *     L2 table, refcount block     when it is made; an old one, when the first of its entries changes
 *     L1 table                     a cluster of it, when the first entry there changes
 *     refcount table               all of it, when it is made or the first of its entries changes: it is written whole
 *
 * Old tables may have holes too: `cp --sparse` makes some of all zeros, and clusters that were given back are holes. A
 * cluster is asked for once: the set of metadata clusters remembers which ones have been (QCOW2_METADATA_HAS_SPACE).
 * Guests' data need nothing of this: they are written, to holes too, before they are acknowledged.
 *
 * What cannot be had: on a file system that never overwrites in place (btrfs, unless the image has the attribute C;
 * ZFS, bcachefs) even a write to space that is taken needs new space for a moment, and some (NFS without fallocate)
 * promise none. There a flush may fail with ENOSPC: nothing is lost, all is in memory and in the journal, and the next
 * flush tries again. Blocks shared with another file (XFS, `cp --reflink`) are unshared here, so that the flush can
 * write in place.
 *
 * All calls hold the image's lock; 0 or -errno.
 */
#include "block/format/qcow2/space.h"

#include "block/format/qcow2/cache.h"
#include "block/format/qcow2/metadata.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

enum { EXTENTS_MAX = 32 };

/* Whether the file system says that all of the range has blocks of its own. That is asked first because some want free
 * space for fallocate() even where there is nothing left to do. */
static bool range_has_space(int fd, uint64_t offset, uint64_t length)
{
    union {
        struct fiemap map;
        unsigned char bytes[sizeof(struct fiemap) + EXTENTS_MAX * sizeof(struct fiemap_extent)];
    } answer = {.map = {.fm_start = offset, .fm_length = length, .fm_extent_count = EXTENTS_MAX}};
    const uint32_t unfit = FIEMAP_EXTENT_SHARED | FIEMAP_EXTENT_ENCODED | FIEMAP_EXTENT_NOT_ALIGNED;
    if (ioctl(fd, FS_IOC_FIEMAP, &answer.map) != 0)
        return false;
    uint64_t end = offset;
    for (uint32_t i = 0; i < answer.map.fm_mapped_extents; i++) {
        const struct fiemap_extent *extent = &answer.map.fm_extents[i];
        if (extent->fe_logical > end || extent->fe_flags & unfit)
            return false;
        end = extent->fe_logical + extent->fe_length;
    }
    return end >= offset + length;
}

/* fallocate(2) that no signal interrupts; -EOPNOTSUPP if there is none here. */
static int range_allocate(int fd, int mode, uint64_t offset, uint64_t length)
{
    int ret;
    do
        ret = fallocate(fd, mode, (off_t)offset, (off_t)length) ? -errno : 0;
    while (ret == -EINTR);
    return ret == -ENOSYS || (ret == -EINVAL && mode) ? -EOPNOTSUPP : ret;
}

/* Writes what is there once more. Nothing of it has changed in memory yet, so no flush writes there. */
static int range_rewrite(int fd, uint64_t offset, uint64_t length)
{
    CLEANUP_FREE void *bytes = malloc(length);
    if (!bytes)
        return -ENOMEM;
    int ret = file_read_padded(fd, bytes, offset, length);
    return ret ? ret : file_write(fd, bytes, offset, length);
}

int qcow2_space_take(struct qcow2 *q, uint64_t cluster)
{
    uint64_t offset = cluster << q->cluster_bits, length = q->cluster_bytes;
    if (qcow2_metadata_has_space(q, cluster))
        return 0;
    if (q->is_nonblocking)
        return -EAGAIN;
    int ret = 0;
    if (!range_has_space(q->fd, offset, length))
        ret = range_allocate(q->fd, FALLOC_FL_UNSHARE_RANGE, offset, length);
    if (ret == -EOPNOTSUPP)
        ret = range_allocate(q->fd, 0, offset, length);
    if (ret == -EOPNOTSUPP)
        ret = range_rewrite(q->fd, offset, length);
    if (ret == 0)
        qcow2_metadata_set_space(q, cluster);
    return ret;
}

int qcow2_space_take_run(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset >> q->cluster_bits;
    int ret = 0;
    for (uint64_t i = 0; i < qcow2_clusters(q, bytes) && ret == 0; i++)
        ret = qcow2_space_take(q, first + i);
    return ret;
}

int qcow2_space_clear(struct qcow2 *q, uint64_t cluster, bool is_fresh)
{
    uint64_t offset = cluster << q->cluster_bits;
    qcow2_cache_drop(q, cluster);
    int ret = is_fresh ? range_allocate(q->fd, 0, offset, q->cluster_bytes) : -EOPNOTSUPP;
    if (ret == -EOPNOTSUPP) {
        CLEANUP_FREE void *zeros = calloc(1, q->cluster_bytes);
        ret = zeros ? file_write(q->fd, zeros, offset, q->cluster_bytes) : -ENOMEM;
    }
    if (ret == 0)
        qcow2_metadata_set_space(q, cluster);
    return ret;
}
