/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks map a chain: which image holds a range, and how, at the cost of the extents that exist.
 * Private to block/.
 *
 * A driver's map() returns one extent of one layer. A walk maps the layers from the top down to the
 * first that holds something there; the shortest of their extents is the result. It caches the last
 * extent of every read-only layer: to go through a disk maps each extent of each layer once.
 *
 *     offset ------------------> v
 *     layer 3 (top)  |-- nothing --|               mapped each time
 *     layer 2        |--------------- nothing ---------------|    cached
 *     layer 1              |--- data ---|                          cached up to its end
 *     layer 0                                                      not mapped yet
 *
 * W1. The top is mapped anew for every result and never cached: a result is never older than the
 *     call. No assert: the code has no place to cache it.
 * W2. The extents of a layer that is read-only never change, where no layer above masks them, while
 *     it is a layer of the chain; they stay valid as long as the walk, also if it is thawed. One
 *     that is not read-only yet may change below a new top, until its last change has ended: it is
 *     mapped anew each time, as the top and a thawed layer are. No assert: a map would be needed to
 *     compare.
 * W3. A walk has one user at a time, who owns it without a lock while drivers map. No assert: it is
 *     in no list meanwhile, so no other thread finds it.
 * W4. At most WALKS_KEPT_MAX walks of each kind are kept, within walk_memory; others live for one
 *     result.
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
 * first, `count` (> 0) of them; of one `walks` always the same, but for those that are added. The
 * lowest `floor` (< count) of them are not looked at: BACKING, depth 0, where no other one holds
 * something. `flags`: map_flags; MAP_CACHED: -EAGAIN rather than wait. 0 or -errno. */
int walks_map(struct walks *walks, struct node *const *layers, unsigned count, unsigned floor,
              uint64_t offset, unsigned flags, struct chain_extent *found);

#endif
