/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes and chains: opening, sharing, and the wrapper around every driver callback. Private to
 * block/.
 */
#ifndef BLOCK_NODE_H
#define BLOCK_NODE_H

#include "base/cleanup.h"
#include "block/driver.h"

struct image_dir;

/* Longest chain that is opened: a loop that escapes detection ends here. */
#define CHAIN_NODES_MAX 1024

/* Asked about every file of a chain after open(2) and before anything of it is read or written: may
 * it be used, by what it is (dev, ino), in this way? 0, or -1 and *err. */
struct chain_guard {
    int (*admit)(void *arg, dev_t dev, ino_t ino, bool read_only, const char *path,
                 struct err *err);
    void *arg;
};

/* Opens `path` and, following the headers, everything under it (backing nodes read-only), all
 * beneath `dir`. `guard` may be NULL. Returns the top with one reference, or NULL. Codes:
 * OpenFileFailed, InvalidBlockFormat, and the guard's. */
struct node *chain_open(const struct image_dir *dir, const char *path, const char *format,
                        bool read_only, const struct chain_guard *guard, struct err *err);

/* Opens the image in `fd` (taken over on success only) on top of `backing` (a new reference is
 * taken; NULL: none), whatever file the header names. `path` is recorded. NULL and *err on failure.
 */
struct node *node_open(int fd, const char *path, const struct driver *driver, bool read_only,
                       struct node *backing, struct err *err);

struct node *node_ref(struct node *node);

/* Drops a reference; the last one closes the node, then its backing node's reference in turn. */
void node_unref(struct node *node);
CLEANUP_DEFINE(node, struct node *, node_unref)

/* Data: 0 or -errno. Ranges must lie within size_bytes (-EINVAL else); length 0 succeeds. */
int node_read(struct node *node, void *buf, uint64_t offset, uint64_t length);
int node_write(struct node *node, const void *buf, uint64_t offset, uint64_t length);
int node_zero(struct node *node, uint64_t offset, uint64_t length, bool unmap);
int node_discard(struct node *node, uint64_t offset, uint64_t length);

/* All that returned before is durable on return. Free of cost if nothing was written since. */
int node_flush(struct node *node);

/* Flushes, then turns the node read-only for good, its file descriptor too. The caller guarantees
 * that no write is under way; reads may be. 0, or the flush's -errno (read-only all the same). */
int node_freeze(struct node *node);

/* Space that the image takes on its file system. */
int node_allocated_bytes(const struct node *node, uint64_t *bytes);

#endif
