/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads of a device, and its block status. See io.h.
 *
 *   read:  index_find, then the file of the image found. On a miss the index is filled first; a
 *          range that it cannot describe is read down the chain
 *
 *   I1. The io_lock of the top, or of the unsealed image, is held while its data are read, not that
 *       of a frozen image.
 *
 * Each look-up takes the top anew: a read that meets a cut may be answered from both sides of it.
 */
#include "block/device/device.h"

#include "block/image/file-io.h"
#include "block/image/read-marks.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* Reads all of an extent from the index. */
static int found_read(const struct chain_extent *found, void *buf, bool cached)
{
    if (found->kind == EXTENT_ZERO) {
        memset(buf, 0, found->length);
        return 0;
    }
    return cached ? file_read_cached(found->node->fd, buf, found->host, found->length)
                  : file_read_padded(found->node->fd, buf, found->host, found->length);
}

/* What a backup reads of a frozen member, it reads once. */
static void found_mark(const struct chain_extent *found, const struct node *top, uint64_t offset)
{
    if (!atomic_load(&top->read_only) && found->kind == EXTENT_DATA)
        read_marks_set(found->node, offset, found->length);
}

static int walk_read(struct node *top, void *buf, uint64_t offset, uint64_t length)
{
    return atomic_load(&top->read_only) ? node_read(top, buf, offset, length)
                                        : node_read_marked(top, buf, offset, length);
}

/* Reads one extent. *length: in: maximum; out: actual. */
static int device_read_extent(struct device *device, void *buf, uint64_t offset, uint64_t *length,
                              bool cached)
{
    unsigned flags = cached ? MAP_CACHED : 0;
    struct index *index = device->index;
    /* Constant changes could invalidate each fill. */
    for (int tries = 0; tries < 3; tries++) {
        struct node *top = index_top(index);
        const struct node *unsealed = index_unsealed(index); /* before index_find() */
        bool is_held;
        int ret = node_begin_io(top, flags, &is_held);
        if (ret)
            return ret;
        struct chain_extent found = {.length = *length};
        enum index_answer answer = index_find(index, top, offset, &found);
        if (answer != INDEX_MISS)
            *length = found.length;
        if (answer == INDEX_FOUND && unsealed && found.node == unsealed && unsealed != top)
            answer = INDEX_WALK; /* I1 */
        /* Extents of frozen images are stable: changes do not wait for this read's disk. */
        bool is_in_top = answer == INDEX_FOUND && found.node == top;
        assert(!is_in_top || is_held || atomic_load(&top->read_only)); /* I1 */
        if (!is_in_top)
            node_end_io(top, is_held);
        if (answer == INDEX_FOUND)
            ret = found_read(&found, buf, cached);
        if (answer == INDEX_FOUND)
            found_mark(&found, top, offset);
        if (is_in_top)
            node_end_io(top, is_held);
        if (answer == INDEX_FOUND)
            return ret;
        if (answer == INDEX_WALK || index_fill(index, offset, flags) != 0)
            break; /* the walk reports the error */
    }
    return cached ? -EAGAIN : walk_read(index_top(index), buf, offset, *length);
}

static int device_read_range(struct device *device, void *buf, uint64_t offset, uint64_t length,
                             bool cached)
{
    READERS_GUARD(&device->readers);
    int ret = device_check_range(device, offset, length);
    for (uint64_t done = 0, n; done < length && ret == 0; done += n) {
        n = length - done;
        ret = device_read_extent(device, (char *)buf + done, offset + done, &n, cached);
    }
    return ret;
}

int device_read(struct device *device, void *buf, uint64_t offset, uint64_t length)
{
    return device_read_range(device, buf, offset, length, false);
}

int device_read_cached(struct device *device, void *buf, uint64_t offset, uint64_t length)
{
    return device_read_range(device, buf, offset, length, true);
}

int device_map(struct device *device, uint64_t offset, struct device_extent *extent)
{
    READERS_GUARD(&device->readers);
    struct chain_extent found = {.length = extent->length};
    int ret = device_check_range(device, offset, extent->length);
    if (ret == 0)
        ret = index_map(device->index, offset, MAP_HOLES, &found);
    if (ret)
        return ret;
    *extent = (struct device_extent){
        .length = found.length,
        .is_zero = found.kind != EXTENT_DATA,
        .is_hole = found.kind != EXTENT_DATA,
        .depth = found.depth,
    };
    return 0;
}

/* One extent; *length: in: maximum; out: actual. */
static int device_prefetch_extent(struct device *device, uint64_t offset, uint64_t *length)
{
    READERS_GUARD(&device->readers);
    struct chain_extent extent = {.length = *length};
    int ret = device_check_range(device, offset, *length);
    if (ret == 0)
        ret = index_map(device->index, offset, 0, &extent);
    if (ret)
        return ret;
    *length = extent.length;
    if (extent.kind == EXTENT_DATA && extent.host != EXTENT_NO_HOST)
        posix_fadvise(extent.node->fd, (off_t)extent.host, (off_t)extent.length,
                      POSIX_FADV_WILLNEED);
    found_mark(&extent, index_top(device->index), offset);
    return 0;
}

int device_prefetch(struct device *device, uint64_t offset, uint64_t length)
{
    const uint64_t most = 64 << 20; /* more would evict pages in regular use */
    int ret = 0;
    if (length > most)
        length = most;
    for (uint64_t n; length > 0 && ret == 0; offset += n, length -= n) {
        n = length;
        ret = device_prefetch_extent(device, offset, &n);
    }
    return ret;
}
