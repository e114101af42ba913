/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of an open image's header. See amend.h.
 *
 * A description of its own is written through, never the node's: a group may freeze a top at any
 * time, which exchanges that for one that cannot write.
 */
#include "block/image/amend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

/* Returns the descriptor, or -1 and *err. */
static int node_open_again(const struct node *node, struct err *err)
{
    char link[32];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", node->fd);
    int fd = open(link, O_RDWR | O_CLOEXEC);
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
