/* SPDX-License-Identifier: Apache-2.0
 *
 * The index: a device's block map in memory. A read costs one look-up at any depth of the chain.
 * Private to block/.
 *
 * A device has one index; all indexes of a block layer share one memory budget (index_memory). An
 * index is filled lazily by walking the chain (walk.h), a unit at a time; when the budget is used
 * up, the least recently used pages are evicted. Entries name images by layer, counted from the
 * base, so a cut leaves every entry valid: the overlay is one more layer, and empty.
 *
 *     layers   base ... [top] [armed]         index_arm: the last one is the top from an epoch on
 *
 * Invariants:
 *   X1. A result for a frozen layer never changes while it is a layer (W2 in walk.h), so its data
 *       are read without a lock. The layer below the top is frozen from index_seal() on; until then
 *       its changes are reported too. No assert: a walk would be needed to compare.
 *   X2. A result for the top is valid while the caller has held the top's io_lock, shared, since
 *       before the call: a driver reports a change (index_forget) before it releases that lock, and
 *       reuses space only after it has held it exclusively. No assert: a read-write lock does not
 *       know its readers.
 *   X3. An entry that was mapped before a change is not kept after it (`changes`). Who maps takes
 *       that count first, then looks at the top.
 *   X4. One overlay is armed at a time, and none before the layer below the top is sealed.
 *
 * Any thread may call anything but new, free, arm and seal at any time. A driver's lock is taken
 * before those of index-pages.h; the lock of the walks is taken with none of these held.
 */
#ifndef BLOCK_DEVICE_INDEX_H
#define BLOCK_DEVICE_INDEX_H

#include "block/device/cut.h"
#include "block/device/index-pages.h"

struct index;

/* An index of the chain under `top`, which outlives it and reports its changes from now on. `cut`
 * outlives it too. NULL when memory is short. */
struct index *index_new(struct index_memory *memory, const struct cut *cut, struct node *top);
void index_free(struct index *index);

/* An image is taken out of a chain, with those between it and `instead`, which gives the same view.
 */
struct index_bypass {
    const struct node *out;
    struct node *instead;
};

/* To replace the index of a device whose chain gets shorter in that way under requests:
 *
 *     index_new_heir --> index_announce --> device->index = heir --> readers_wait
 *                    --> index_hand_over --> readers_wait --> index_free(the old one)
 *
 * No overlay of the old chain is armed. A heir that was not announced is freed by
 * index_drop_heir(). NULL when memory is short. The heir learns of changes by way of the old index
 * until index_hand_over(), then directly. */
struct index *index_new_heir(const struct index *index, const struct index_bypass *bypass);
void index_drop_heir(struct index *heir);
void index_announce(struct index *index, struct index *heir);
void index_hand_over(struct index *index);

/* Whether the image is a layer of the index. */
bool index_has(const struct index *index, const struct node *node);

/* The index of a chain whose top was not watched, as it was thawed, hears of its changes from now
 * on; none is under way. */
void index_watch_top(struct index *index);

/* Arms `overlay`, whose backing node is the top, to be the top from that epoch of the cut on, which
 * is to come; it reports its changes from now on. Memory only; cannot fail. */
void index_arm(struct index *index, struct node *overlay, uint64_t epoch);

/* The layer below the top is frozen: it has no change in flight, and will have none. */
void index_seal(struct index *index);

/* From now on the index describes a disk of the room's size, which is larger; nothing is asked of
 * what is past the old end before. Keeps its entries. Memory only; cannot fail. */
void index_grow(struct index *index, struct index_room *room);

/* The top at this moment. */
struct node *index_top(const struct index *index);

/* The layer below the armed overlay, until it is sealed; else NULL. After a cut it may have changes
 * in flight. */
const struct node *index_unsealed(const struct index *index);

enum index_answer {
    INDEX_FOUND, /* *found is DATA with node, host and length, or ZERO with length */
    INDEX_MISS,  /* not mapped yet: index_fill() */
    INDEX_WALK,  /* mixed within a granule, or compressed: node_read() for *found's length */
};

/* Looks up an extent at `offset`, within the device. found->length: in: maximum; out: actual. `top`
 * is from index_top(), with its io_lock held (node_begin_io); INDEX_MISS after a cut since. */
enum index_answer index_find(struct index *index, const struct node *top, uint64_t offset,
                             struct chain_extent *found);

/* Maps the chain at `offset`, past the index; as walks_map(). */
int index_map(struct index *index, uint64_t offset, unsigned flags, struct chain_extent *found);

/* The same without the lowest `floor` layers: BACKING, depth 0, where no other one has something.
 */
int index_map_above(struct index *index, unsigned floor, uint64_t offset, unsigned flags,
                    struct chain_extent *found);

/* The layers of the chain from the base up, and how many of them, from the base up, are those of
 * the other chain too. */
struct node *const *index_layers(const struct index *index, unsigned *count);
unsigned index_common_layers(const struct index *index, const struct index *other);

/* Maps the unit at `offset` and keeps it. `flags`: MAP_CACHED. The top's io_lock is not held. 0 or
 * -errno. */
int index_fill(struct index *index, uint64_t offset, unsigned flags);

#endif
