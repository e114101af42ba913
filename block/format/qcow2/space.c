/* SPDX-License-Identifier: Apache-2.0
 *
 * Disk space for tables, allocated before anything that needs it is acknowledged.
 *
 * Tables are changed in memory and written by a flush. If the file had holes there, a flush could
 * find the disk full after the writes were acknowledged. So the request that first changes a
 * metadata cluster after the image was opened allocates the cluster's space, and that request gets
 * ENOSPC:
 *
 *     L2 table, refcount block     when it is made; an old one when its first entry changes
 *     L1 table                     a cluster of it when the first entry there changes
 *     refcount table               all of it, likewise: it is written whole
 *
 * Old tables may have holes: `cp --sparse` makes holes of zeros, and freed clusters are holes. Each
 * cluster is allocated once; the metadata set remembers it. Guest data need none of this: they are
 * written before they are acknowledged.
 *
 * Limits: a file system that never overwrites in place (btrfs without the attribute C, ZFS,
 * bcachefs) needs new space even for a write to allocated space, and NFS without fallocate promises
 * none. There a flush may fail with ENOSPC; nothing is lost: the changes stay in memory and in the
 * journal, and the next flush retries. Blocks shared with another file (XFS, `cp --reflink`) are
 * unshared here.
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

/* Whether the whole range has blocks of its own. Checked first, since some file systems need free
 * space for fallocate() even where nothing is left to allocate. */
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

/* fallocate(2), retried on EINTR; -EOPNOTSUPP if the file system has none. */
static int range_allocate(int fd, int mode, uint64_t offset, uint64_t length)
{
    int ret;
    do
        ret = fallocate(fd, mode, (off_t)offset, (off_t)length) ? -errno : 0;
    while (ret == -EINTR);
    return ret == -ENOSYS || (ret == -EINVAL && mode) ? -EOPNOTSUPP : ret;
}

/* Rewrites the content. It has not changed in memory yet, so no flush writes there. */
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
    assert(cluster && !qcow2_metadata_has_space(q, cluster)); /* S3 */
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
