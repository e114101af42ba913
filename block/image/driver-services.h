/* SPDX-License-Identifier: Apache-2.0
 *
 * What a driver may call. Implemented by node.c, but for what stands here.
 */
#ifndef BLOCK_IMAGE_DRIVER_SERVICES_H
#define BLOCK_IMAGE_DRIVER_SERVICES_H

#include "block/image/driver.h"

/* Reads the node's backing chain; zeros past its end or without one. This and the next: `flags`
 * MAP_CACHED: -EAGAIN rather than wait. 0 or -errno. */
int node_read_backing(struct node *node, void *buf, uint64_t offset, uint64_t length,
                      unsigned flags);

/* Reads the data of an extent that map() returned at `offset`. */
int node_read_data(struct node *node, void *buf, uint64_t offset, unsigned flags,
                   const struct extent *extent);

/* Writes data to their place in the file. `flags`: WRITE_DIRECT; others change nothing. */
int node_write_data(struct node *node, const void *buf, uint64_t host, uint64_t length,
                    unsigned flags);

/* D4: called after each change of what map() returns for the range, before io_lock is released. */
static inline void node_map_changed(const struct node *node, uint64_t offset, uint64_t length)
{
    if (node->changed)
        node->changed(node->changed_arg, offset, length);
}

/* Long work in open() checks this every few milliseconds, and fails with node_unwanted_error():
 * -1 and NotReady. */
int node_unwanted_error(const char *path, struct err *err);
static inline bool node_is_wanted(const struct node *node)
{
    return !node->is_unwanted || !atomic_load_explicit(node->is_unwanted, memory_order_relaxed);
}

/* fdatasync of the node's file; once it has failed it always fails (sync-note.h). */
int node_sync(struct node *node);

#endif
