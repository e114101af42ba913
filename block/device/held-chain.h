/* SPDX-License-Identifier: Apache-2.0
 *
 * The nodes of a chain, each with a reference: who waits for storage with them is none of
 * block->walkers, and an image that leaves the chain meanwhile (redirect.h) is still there. Private
 * to block/.
 */
#ifndef BLOCK_DEVICE_HELD_CHAIN_H
#define BLOCK_DEVICE_HELD_CHAIN_H

#include <stddef.h>

struct block;
struct device;
struct node;

struct held_chain {
    struct node **nodes; /* the top first */
    size_t count;
};

/* 0, or -1 when memory is short. `top`, and a device's, may be NULL. */
int held_chain_begin(struct block *block, struct node *top, struct held_chain *chain);
int held_chain_of(struct block *block, struct device *device, struct held_chain *chain);
void held_chain_end(struct held_chain *chain);
#define CLEANUP_HELD_CHAIN __attribute__((cleanup(held_chain_end)))

#endif
