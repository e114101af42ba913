/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of an open image's header. See amend.h.
 *
 * A description of its own is written through, never the node's: a group may freeze a top at any
 * time, which exchanges that for one that cannot write.
 */
#include "block/image/amend.h"

#include "block/image/file-io.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>

/* Returns the descriptor, or -1 and *err. */
static int node_open_again(const struct node *node, struct err *err)
{
    int fd = file_reopen(node->fd, O_RDWR);
    if (fd < 0)
        err_set(err, ErrOpenFileFailed, errno, "image '%s' cannot be opened to write", node->path);
    return fd;
}

static int node_amend(struct node *node, const struct image_spec *spec, bool is_trial,
                      struct err *err)
{
    if (!node->driver->amend)
        return err_set(err, ErrInvalidValue, 0, "image '%s': its header cannot be changed",
                       node->path);
    CLEANUP_CLOSE int fd = is_trial ? -1 : node_open_again(node, err);
    if (fd < 0 && !is_trial)
        return -1;
    LOCK_GUARD(&node->flush_lock);
    return node->driver->amend(node, fd, spec, err);
}

int node_set_backing(struct node *node, const char *name, const char *format, struct err *err)
{
    const struct image_spec spec = {.backing_file = name, .backing_format = format};
    return node_amend(node, &spec, false, err);
}

int node_can_set_backing(struct node *node, const char *name, const char *format, struct err *err)
{
    const struct image_spec spec = {.backing_file = name, .backing_format = format};
    return node_amend(node, &spec, true, err);
}

static int node_check_growth(const struct node *node, uint64_t size_bytes, struct err *err)
{
    const struct node *backing = node->backing;
    if (size_bytes <= node->size_bytes || size_bytes % BLOCK_SECTOR_BYTES ||
        size_bytes > DEVICE_SIZE_MAX_BYTES)
        return err_set(err, ErrInvalidValue, 0,
                       "image '%s' becomes larger by whole sectors, up to 8 PiB", node->path);
    if (backing && backing->size_bytes > node->size_bytes)
        return err_set(err, ErrInvalidValue, 0,
                       "image '%s' is smaller than its backing file, whose end would appear",
                       node->path);
    return 0;
}

int node_grow(struct node *node, uint64_t size_bytes, struct err *err)
{
    const struct image_spec spec = {.size_bytes = size_bytes};
    node_assert_state(node);
    assert(node_state(node) != NODE_READING);
    if (node_check_growth(node, size_bytes, err) != 0)
        return -1;
    atomic_store(&node->unflushed, true); /* the old tables are released by a flush */
    return node_amend(node, &spec, false, err);
}

int node_can_grow(struct node *node, uint64_t size_bytes, struct err *err)
{
    const struct image_spec spec = {.size_bytes = size_bytes};
    return node_check_growth(node, size_bytes, err) ? -1 : node_amend(node, &spec, true, err);
}
