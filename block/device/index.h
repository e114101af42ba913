/* SPDX-License-Identifier: Apache-2.0
 *
 * The index: where each part of a device's content lies, so that a read costs one look at any depth
 * of the chain. Private to block/.
 *
 * A device has one index; all indexes of a block layer share one budget of memory (index_memory).
 * It is filled lazily by walking the chain (walk.h), one unit at a time, and forgets what was not
 * used for long when the budget is used up. It names images by their layer, counted from the base,
 * so a pivot leaves every entry valid: the overlay is one more layer, and holds nothing yet.
 *
 * Invariants:
 *   X1. A result for a frozen layer never changes while it is a layer (W2 in walk.h), so its data
 *       are read without a lock. No assert: a walk would be needed to compare.
 *   X2. A result for the top is valid while the caller has held the top's io_lock, shared, since
 *       before the call: a driver reports a change (index_forget) before it releases that lock, and
 *       reuses space only after it has held it exclusively. No assert: a read-write lock does not
 *       know its readers.
 *   X3. An entry that was mapped before a change is not kept after it (`changes`).
 *
 * Any thread may call anything but new, free and push at any time. Lock order: a driver's lock,
 * index_memory.lock, index.lock. The lock of the walks is taken with none of these held.
 */
#ifndef BLOCK_DEVICE_INDEX_H
#define BLOCK_DEVICE_INDEX_H

#include "block/image/walk.h"

struct index;
struct index_page;

struct index_memory {
    pthread_mutex_t lock;
    uint64_t budget_bytes;
    uint64_t used_bytes;                /* guarded by lock, as are the pages' links */
    struct index_page *oldest, *newest; /* all pages, by when they were last looked at, roughly */
    struct walk_memory walks;           /* a part of the budget */
};

void index_memory_init(struct index_memory *memory, uint64_t budget_bytes);
void index_memory_set_budget(struct index_memory *memory, uint64_t budget_bytes);
void index_memory_get(struct index_memory *memory, uint64_t *used_bytes, uint64_t *budget_bytes);
void index_memory_destroy(struct index_memory *memory);

/* An index of the chain under `top`, which outlives it; its changes are told to it from now on.
 * NULL when memory is short. */
struct index *index_new(struct index_memory *memory, struct node *top);
void index_free(struct index *index);

/* The pivot: `overlay`, whose backing node is the top, becomes top. Memory only; cannot fail.
 * Changes of it are told from now on. No change is under way on either. */
void index_push(struct index *index, struct node *overlay);

/* The topmost layer. */
struct node *index_top(const struct index *index);

enum index_answer {
    INDEX_FOUND, /* *found is filled: DATA with node, host and length, or ZERO with length */
    INDEX_MISS,  /* nobody knows yet: index_fill() */
    INDEX_WALK,  /* too mixed, or compressed: node_read() for *found's length */
};

/* Looks up [offset, offset + found->length), within the device; found->length becomes how far the
 * answer reaches. `top` is what index_top() gave, with its io_lock held (node_begin_io); if there
 * was a pivot since, the answer may name a newer layer: then INDEX_MISS. */
enum index_answer index_find(struct index *index, const struct node *top, uint64_t offset,
                             struct chain_extent *found);

/* What the chain holds from `offset` on, within the device, whatever the index knows: at most
 * found->length bytes; as walks_map(). */
int index_map(struct index *index, uint64_t offset, unsigned flags, struct chain_extent *found);

/* Finds out about the unit at `offset`. `flags`: MAP_CACHED. The top's io_lock is not held. 0,
 * -EAGAIN, or the errno that a driver's map() gave. */
int index_fill(struct index *index, uint64_t offset, unsigned flags);

#endif
