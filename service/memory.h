/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that all REST requests and replies share. As in block/nbd/budget.h nobody waits: without
 * memory a request is refused (OutOfResources), so it does not matter how long others hold theirs.
 * Shares:
 *
 *   request   its text, twice (once more for the strings of its tree), and MEMORY_VALUE_BYTES for
 *             each value that a text of that length can have; from before the body is received
 *             until the reply is sent
 *   list      MEMORY_PAGE_BYTES while the page is built
 *   reply     its text, until it is sent; the client may take its time
 *
 * Any thread.
 */
#ifndef SERVICE_MEMORY_H
#define SERVICE_MEMORY_H

#include "base/err.h"
#include "service/limits.h"

#include <stdatomic.h>
#include <stddef.h>

#define MEMORY_VALUE_BYTES 160 /* a node of the tree, its name, and what malloc needs for them */
#define MEMORY_PAGE_BYTES  ((size_t)1 << 20)

struct memory {
    atomic_size_t taken_bytes;
};

/* The share of one request. Zeroed: none. */
struct memory_share {
    struct memory *memory;
    size_t bytes;
};

/* Grows or shrinks the share to `bytes`. OutOfResources: unchanged. */
int memory_take(struct memory_share *share, size_t bytes, struct err *err);
void memory_release(struct memory_share *share);

#endif
