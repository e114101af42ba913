/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks: finding out which image of a chain holds a range, and how, at the cost of the extents that
 * exist. Private to block/.
 *
 * A driver's map() tells one extent of one layer. To know what a chain holds at an offset, the
 * layers are asked from the top to the first that has something; the shortest of their extents is
 * the answer. What the others said beyond it is not lost: a walk keeps the last extent of every
 * frozen layer, so that going through a disk asks each layer for each of its extents once.
 *
 *     offset ------------------> v
 *     layer 3 (top)  |-- nothing --|               asked each time
 *     layer 2        |--------------- nothing ---------------|    kept
 *     layer 1              |--- data ---|                          kept; asked again from its end on
 *     layer 0                                                      not asked yet
 *
 * Rules:
 *   1. What the top says is asked afresh for every answer, and never kept: so an answer is never
 *      older than the call, whatever is written meanwhile.
 *   2. What any other layer says never changes while it is a layer of the chain, so that it is kept
 *      for as long as the walk is. A pivot adds a layer, and takes place while no change is under
 *      way: the old top is frozen from then on, and not known to any walk yet.
 *   3. A walk has one user at a time; who takes it owns it, without a lock, while drivers are asked.
 *   4. The walks that are kept are few (WALKS_KEPT_MAX), and take no more memory than they may
 *      (walk_memory); others live for one answer.
 */
#ifndef BLOCK_IMAGE_WALK_H
#define BLOCK_IMAGE_WALK_H

#include "block/image/node.h"

enum { WALKS_KEPT_MAX = 8 }; /* of one chain, with MAP_HOLES and without each */

/* What the kept walks of all chains may take together. */
struct walk_memory {
    atomic_uint_fast64_t used_bytes;
    atomic_uint_fast64_t budget_bytes;
};

struct walk;

/* The walks of one chain. */
struct walks {
    pthread_mutex_t lock;
    struct walk *idle;      /* guarded by lock, as is kept_count */
    unsigned kept_count[2]; /* without and with MAP_HOLES */
    struct walk_memory *memory;
};

void walks_init(struct walks *walks, struct walk_memory *memory);
void walks_destroy(struct walks *walks); /* no walk is in use */

/* What the chain holds from `offset` on, which lies within its top. `layers`: its images, base
 * first, `count` (> 0) of them; of one `walks` always the same, but for those that are added.
 * `flags`: map_flags; MAP_CACHED: -EAGAIN rather than wait. 0 or -errno. */
int walks_map(struct walks *walks, struct node *const *layers, unsigned count, uint64_t offset,
              unsigned flags, struct chain_extent *found);

#endif
