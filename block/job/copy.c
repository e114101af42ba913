/* SPDX-License-Identifier: Apache-2.0
 *
 * Copying. See block/copy.h.
 *
 *     OPEN --copy_begin--> WRITING --copy_finish--> FINISHED
 *
 * The image is written through a node of its own, which no chain has, without a journal: nobody is
 * told that anything is there before a flush. Pages of it are dropped once they are on the disk;
 * those of the member stay for as long as the kernel likes, since guests may read the same images.
 */
#include "block/copy.h"

#include "block/device/device.h"
#include "block/device/exports.h"
#include "block/device/object.h"
#include "block/image/access.h"
#include "block/image/drivers.h"
#include "block/image/stage.h"
#include "block/job/write-back.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    BLOCK_BYTES = 4096,      /* the least that is left out of data */
    CLUSTER_BYTES = 1 << 16, /* unless the disk needs larger ones; no extended L2: others read it */
};

enum copy_state { COPY_OPEN, COPY_WRITING, COPY_FINISHED };

struct copy {
    struct block *block;
    enum copy_state state;
    struct device *device; /* the member, in use */
    struct image_place place;
    struct node *image; /* while it is written */
    struct write_back write_back;
    char *buffer; /* of COPY_PIECE_BYTES */
};

/* ---- opening ---- */

struct copy *copy_open(struct block *block, const char *export, struct err *err)
{
    struct copy *copy = calloc(1, sizeof(*copy));
    char *buffer = malloc(COPY_PIECE_BYTES);
    if (!copy || !buffer) {
        free(copy);
        free(buffer);
        err_set(err, ErrOutOfResources, ENOMEM, "'%s' cannot be copied", export);
        return NULL;
    }
    *copy = (struct copy){.block = block, .place = IMAGE_PLACE_INIT, .buffer = buffer};
    copy->device = export_use(block, export, NULL, err);
    if (copy->device)
        return copy;
    copy_close(copy);
    return NULL;
}

void copy_close(struct copy *copy)
{
    if (copy->image)
        node_unref(copy->image);
    if (copy->device)
        export_unuse(copy->block, copy->device);
    image_place_close(&copy->place);
    free(copy->buffer);
    free(copy);
}

/* ---- looking ---- */

static int read_report(const struct copy *copy, int ret, struct err *err)
{
    return err_set(err, ErrOpenFileFailed, -ret, "'%s' cannot be read", copy->device->name);
}

static int copy_map(struct copy *copy, uint64_t offset, struct device_extent *extent)
{
    extent->length = device_size_bytes(copy->device) - offset;
    return device_map(copy->device, offset, extent);
}

int copy_measure(struct copy *copy, uint64_t *bytes, struct err *err)
{
    struct device_extent extent;
    *bytes = 0;
    for (uint64_t at = 0; at < device_size_bytes(copy->device); at += extent.length) {
        int ret = copy_map(copy, at, &extent);
        if (ret)
            return read_report(copy, ret, err);
        *bytes += extent.is_zero ? 0 : extent.length;
    }
    return 0;
}

int copy_check(struct block *block, const struct copy_target *target, uint64_t *free_bytes,
               struct err *err)
{
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    struct statvfs fs;
    if (!driver_find_creating(target->format, err) ||
        image_place_open(&block->dir, target->path, &place, err) != 0 ||
        image_place_check_free(&place, err) != 0)
        return -1;
    if (fstatvfs(place.dirfd, &fs) != 0)
        return err_set(err, ErrOpenFileFailed, errno, "the file system of '%s' cannot be examined",
                       place.path);
    *free_bytes = (geteuid() == 0 ? fs.f_bfree : fs.f_bavail) * fs.f_frsize;
    return 0;
}

/* ---- the image ---- */

static int image_create(struct copy *copy, const struct driver *driver,
                        const unsigned char id[OWNER_ID_BYTES], struct err *err)
{
    const uint64_t size_bytes = device_size_bytes(copy->device);
    const struct cluster_shape shape =
        driver_overlay_shape((struct cluster_shape){.cluster_bytes = CLUSTER_BYTES}, size_bytes);
    const struct image_spec spec = {.size_bytes = size_bytes, .cluster_bytes = shape.cluster_bytes};
    CLEANUP(node) struct node *top = device_top(copy->device);
    CLEANUP_CLOSE int fd = stage_create(&copy->place, id, err);
    return fd >= 0 && driver->create(fd, &spec, err) == 0 &&
                   access_copy(fd, top->fd, copy->place.path, err) == 0
               ? steal_fd(&fd)
               : -1;
}

int copy_begin(struct copy *copy, const struct copy_target *target, bool is_continued,
               struct err *err)
{
    assert(copy->state == COPY_OPEN);
    const struct driver *driver = driver_find_creating(target->format, err);
    if (!driver || image_place_open(&copy->block->dir, target->path, &copy->place, err) != 0)
        return -1;
    CLEANUP_CLOSE int fd = is_continued ? stage_open(&copy->place, target->id, err)
                                        : image_create(copy, driver, target->id, err);
    if (fd < 0)
        return -1;
    copy->image = node_open(fd, copy->place.path, driver, false, NULL, err);
    if (!copy->image)
        return -1;
    steal_fd(&fd);
    if (copy->image->size_bytes != device_size_bytes(copy->device))
        return err_set(err, ErrOpenFileFailed, 0, "image '%s' is not the copy that was begun",
                       copy->place.path);
    copy->state = COPY_WRITING;
    return 0;
}

/* ---- copying ---- */

static bool is_zeros(const char *data, uint64_t length)
{
    return data[0] == 0 && memcmp(data, data + 1, length - 1) == 0;
}

/* From `at` on, which block ends the range: [at, end). */
static uint64_t block_end(uint64_t offset, uint64_t at, uint64_t length)
{
    uint64_t end = (offset + at) / BLOCK_BYTES * BLOCK_BYTES + BLOCK_BYTES - offset;
    return end < length ? end : length;
}

/* Writes what is not zeros of a piece; the image has zeros there. 0 or -errno. */
static int copy_write(struct copy *copy, uint64_t offset, uint64_t length)
{
    for (uint64_t at = 0, end; at < length; at = end) {
        end = block_end(offset, at, length);
        if (is_zeros(copy->buffer + at, end - at))
            continue;
        for (uint64_t next = end; next < length; end = next) {
            next = block_end(offset, end, length);
            if (is_zeros(copy->buffer + end, next - end))
                break;
        }
        int ret = node_write(copy->image, copy->buffer + at, offset + at, end - at);
        if (ret)
            return ret;
    }
    return 0;
}

static int write_report(const struct copy *copy, int ret, struct err *err)
{
    return err_set(err, ErrOpenFileFailed, -ret, "image '%s' cannot be written", copy->place.path);
}

/* Finds what is to be copied from *offset on. 0, 1 if there is nothing any more, or -errno. */
static int copy_find(struct copy *copy, uint64_t *offset, uint64_t *length)
{
    struct device_extent extent;
    for (; *offset < device_size_bytes(copy->device); *offset += extent.length) {
        int ret = copy_map(copy, *offset, &extent);
        if (ret)
            return ret;
        *length = extent.length < COPY_PIECE_BYTES ? extent.length : COPY_PIECE_BYTES;
        if (!extent.is_zero)
            return 0;
    }
    return 1;
}

int copy_piece(struct copy *copy, uint64_t *offset_bytes, uint64_t *copied_bytes, struct err *err)
{
    uint64_t length = 0;
    assert(copy->state == COPY_WRITING);
    *copied_bytes = 0;
    int ret = copy_find(copy, offset_bytes, &length);
    if (ret > 0)
        return 1;
    if (ret == 0)
        ret = device_read(copy->device, copy->buffer, *offset_bytes, length);
    if (ret < 0)
        return read_report(copy, ret, err);
    ret = copy_write(copy, *offset_bytes, length);
    if (ret)
        return write_report(copy, ret, err);
    ret = write_back_pace(&copy->write_back, copy->image, length);
    if (ret < 0)
        return write_back_report(copy->image, ret, err);
    if (ret > 0)
        posix_fadvise(copy->image->fd, 0, 0, POSIX_FADV_DONTNEED);
    *offset_bytes += length;
    *copied_bytes = length;
    return 0;
}

int copy_flush(struct copy *copy, struct err *err)
{
    assert(copy->state == COPY_WRITING);
    int ret = node_flush(copy->image);
    return ret ? write_back_report(copy->image, ret, err) : 0;
}

int copy_finish(struct copy *copy, struct err *err)
{
    if (copy_flush(copy, err) != 0)
        return -1;
    posix_fadvise(copy->image->fd, 0, 0, POSIX_FADV_DONTNEED);
    node_unref(steal(copy->image));
    copy->state = COPY_FINISHED;
    return fsync(copy->place.dirfd) == 0
               ? 0
               : err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be made durable",
                         copy->place.path);
}

int copy_publish(struct block *block, const struct copy_target *target, struct err *err)
{
    CLEANUP_PLACE struct image_place place = IMAGE_PLACE_INIT;
    assert(target->directory); /* so that it is found, or *err says why not */
    return image_place_find(&block->dir, target->path, target->directory, &place, err) < 0
               ? -1
               : stage_publish_durably(&place, target->id, err);
}
