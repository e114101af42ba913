/* SPDX-License-Identifier: Apache-2.0
 *
 * raw: the file is the disk. Offset N of the guest is offset N of the file.
 *
 * A length that is no multiple of a sector is rounded up. Bytes past the end of the file read as
 * zeros, and a write there extends the file. Holes of the file are holes of the disk.
 */
#include "block/format/raw.h"

#include "base/cleanup.h"
#include "block/image/driver-services.h"
#include "block/image/file-io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int raw_open(struct node *node, struct err *err)
{
    struct stat st;
    if (fstat(node->fd, &st) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "image '%s': cannot be examined", node->path);
    if (st.st_size == 0)
        return err_set(err, ErrInvalidBlockFormat, 0, "image '%s': an empty file is no raw disk",
                       node->path);
    if ((uint64_t)st.st_size > DEVICE_SIZE_MAX_BYTES)
        return err_set(err, ErrInvalidBlockFormat, 0, "image '%s': larger than 8 PiB", node->path);
    node->size_bytes =
        ((uint64_t)st.st_size + BLOCK_SECTOR_BYTES - 1) & ~(uint64_t)(BLOCK_SECTOR_BYTES - 1);
    return 0;
}

static void raw_close(struct node *node)
{
    (void)node;
}

static int raw_create(int fd, const struct image_spec *spec, struct err *err)
{
    if (spec->backing_file || spec->group_id)
        return err_set(err, ErrInvalidBlockFormat, 0,
                       "format 'raw' cannot hold an overlay: it records no backing file");
    if (ftruncate(fd, (off_t)spec->size_bytes) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "raw image of %llu bytes cannot be made",
                       (unsigned long long)spec->size_bytes);
    return 0;
}

/* Limits the extent to one run of data or one hole. Without SEEK_DATA everything is data. */
static int raw_find_holes(struct node *node, uint64_t offset, struct extent *extent)
{
    off_t data = lseek(node->fd, (off_t)offset, SEEK_DATA);
    if (data < 0 && errno != ENXIO)
        return errno == EINVAL || errno == EOPNOTSUPP ? 0 : -errno;
    off_t end = data; /* of the hole; ENXIO: it has no end */
    if (data == (off_t)offset)
        end = lseek(node->fd, (off_t)offset, SEEK_HOLE);
    else
        extent->kind = EXTENT_ZERO;
    if (end > (off_t)offset && (uint64_t)end - offset < extent->length)
        extent->length = (uint64_t)end - offset;
    return 0;
}

static int raw_map(struct node *node, uint64_t offset, unsigned flags, struct extent *extent)
{
    extent->kind = EXTENT_DATA;
    extent->host = offset;
    return flags & MAP_HOLES ? raw_find_holes(node, offset, extent) : 0;
}

static int raw_write_zeros(struct node *node, uint64_t offset, uint64_t length)
{
    enum { CHUNK_BYTES = 1 << 20 };
    CLEANUP_FREE char *zeros = calloc(1, length < CHUNK_BYTES ? length : CHUNK_BYTES);
    if (!zeros)
        return -ENOMEM;
    while (length) {
        uint64_t n = length < CHUNK_BYTES ? length : CHUNK_BYTES;
        int ret = file_write(node->fd, zeros, offset, n);
        if (ret)
            return ret;
        offset += n;
        length -= n;
    }
    return 0;
}

/* fallocate(2), retried on EINTR. 0 or -errno. */
static int raw_allocate(struct node *node, int mode, uint64_t offset, uint64_t length)
{
    int ret;
    do
        ret = fallocate(node->fd, mode, (off_t)offset, (off_t)length) ? -errno : 0;
    while (ret == -EINTR);
    return ret;
}

static int raw_zero(struct node *node, uint64_t offset, uint64_t length, unsigned flags)
{
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    bool unmap = flags & (ZERO_UNMAP | ZERO_DISCARD);
    int ret = raw_allocate(node, unmap ? punch : FALLOC_FL_ZERO_RANGE, offset, length);
    /* Advice need not be followed where it cannot be, or would itself need space. */
    if (flags & ZERO_DISCARD)
        return ret == -EOPNOTSUPP || ret == -ENOSYS || ret == -ENOSPC ? 0 : ret;
    /* A hole past the end of the file reads as zeros anyway. */
    if (ret != -EOPNOTSUPP && ret != -ENOSYS && ret != -EINVAL)
        return ret;
    return flags & ZERO_FAST ? -EOPNOTSUPP : raw_write_zeros(node, offset, length);
}

static int raw_amend(struct node *node, int fd, const struct image_spec *spec, struct err *err)
{
    if (spec->backing_file)
        return err_set(err, ErrInvalidValue, 0, "raw image '%s' names no backing file", node->path);
    if (lseek(node->fd, (off_t)spec->size_bytes, SEEK_SET) < 0) /* it goes as far as files may */
        return err_set(err, ErrInvalidValue, 0,
                       "raw image '%s' is on a file system that has no files of %llu bytes",
                       node->path, (unsigned long long)spec->size_bytes);
    int ret = fd >= 0 && ftruncate(fd, (off_t)spec->size_bytes) != 0 ? -errno : 0;
    if (ret == 0 && fd >= 0)
        ret = node_sync(node);
    if (ret)
        return err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot become larger", node->path);
    node->size_bytes = fd >= 0 ? spec->size_bytes : node->size_bytes;
    return 0;
}

static int raw_flush(struct node *node)
{
    return node_sync(node);
}

const struct driver driver_raw = {
    .name = "raw",
    .open = raw_open,
    .close = raw_close,
    .create = raw_create,
    .map = raw_map,
    .write = node_write_data, /* waits for the kernel only */
    .zero = raw_zero,
    .flush = raw_flush,
    .amend = raw_amend,
};
