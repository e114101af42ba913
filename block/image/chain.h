/* SPDX-License-Identifier: Apache-2.0
 *
 * Chains: an image and everything beneath it, opened as its headers name them. Private to block/.
 */
#ifndef BLOCK_IMAGE_CHAIN_H
#define BLOCK_IMAGE_CHAIN_H

#include "block/image/node.h"
#include "block/limits.h"

struct file_claim;
struct image_dir;

/* A file of a chain after open(2), before anything of it is read or written. */
struct chain_file {
    int fd;
    dev_t dev;
    ino_t ino;
    struct identity identity;
    const char *path;      /* canonical */
    const char *used_path; /* see node_used_path() */
    const struct driver *driver;
    bool read_only;
    size_t depth; /* 0: the top */
};

/* Called for every file of a chain: 0 admits it, -1 and *err refuses. *claim, the file table's
 * entry for this open, becomes the node's. Sets *node, with a reference, if the chain is to use a
 * node that is open already: one of this chain alone, with a claim, or without a claim one of other
 * chains too, with all beneath it. */
struct chain_guard {
    const atomic_bool *is_unwanted; /* set by any thread to abandon the open; or NULL */
    int (*admit)(void *arg, const struct chain_file *file, struct file_claim **claim,
                 struct node **node, struct err *err);
    void *arg;
    /* Both or none: called before the first file is opened; and once all are, before others can
     * find what was opened; `top`: NULL if one could not be opened. 0: nobody changes what is
     * beneath an image, open chains of others included, from now on; -1 and *err: refused; 1: all
     * are closed, and opened again. */
    void (*begin)(void *arg);
    int (*settle)(void *arg, struct node *top, struct err *err);
};

/* Opens `path` and, following the headers, everything under it (backing nodes read-only), all
 * beneath `dir`. `guard` may be NULL. Returns the top with one reference, or NULL. Codes:
 * OpenFileFailed, InvalidBlockFormat, NotReady (abandoned), and the guard's. */
struct node *chain_open(const struct image_dir *dir, const char *path, const char *format,
                        bool read_only, const struct chain_guard *guard, struct err *err);

#endif
