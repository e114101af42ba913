/* SPDX-License-Identifier: Apache-2.0
 *
 * Chains: an image and everything beneath it, opened as its headers name them. Private to block/.
 */
#ifndef BLOCK_IMAGE_CHAIN_H
#define BLOCK_IMAGE_CHAIN_H

#include "block/image/node.h"

struct file_claim;
struct image_dir;

/* Longest chain that is opened: a loop that escapes detection ends here. */
#define CHAIN_NODES_MAX 1024

/* A file of a chain after open(2), before anything of it is read or written. */
struct chain_file {
    int fd;
    dev_t dev;
    ino_t ino;
    struct identity identity;
    const char *path; /* canonical */
    const struct driver *driver;
    bool read_only;
    size_t depth; /* 0: the top */
};

/* Asked about every file of a chain: may it be used in this way? 0, or -1 and *err. *claim, which
 * says so as long as the file is open, becomes the node's. Sets *node if the file is open like that
 * already and the chain is to have that node, with its reference. */
struct chain_guard {
    const atomic_bool
        *is_unwanted; /* may be set by another thread: the opening is given up; or NULL */
    int (*admit)(void *arg, const struct chain_file *file, struct file_claim **claim,
                 struct node **node, struct err *err);
    void *arg;
};

/* Opens `path` and, following the headers, everything under it (backing nodes read-only), all
 * beneath `dir`. `guard` may be NULL. Returns the top with one reference, or NULL. Codes:
 * OpenFileFailed, InvalidBlockFormat, NotReady (it is not wanted any more), and the guard's. */
struct node *chain_open(const struct image_dir *dir, const char *path, const char *format,
                        bool read_only, const struct chain_guard *guard, struct err *err);

#endif
