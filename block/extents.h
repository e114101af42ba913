/* SPDX-License-Identifier: Apache-2.0
 *
 * The control interface of changed extents: what has changed in a frozen member since an older one.
 *
 *     block_extents_open --> block_extents_list, as often as needed --> block_extents_close
 *
 * Both members are in use in between, as if clients were connected to their exports. Every byte
 * that differs is in an extent; an extent may have bytes that do not differ. One user at a time,
 * from any thread; calls wait for storage.
 */
#ifndef BLOCK_EXTENTS_H
#define BLOCK_EXTENTS_H

#include "base/cleanup.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct block;
struct block_extents;

struct block_extent {
    uint64_t offset, length;
    bool is_zero; /* reads as zeros in the newer member */
};

/* `name` and `older` are exports of frozen members, "DEVICE@GROUP". Without `older` (NULL) the
 * extents are all that an image of `name` holds. NULL and *err: DeviceNotFound (there is no such
 * export), NotRelated, and what opening a chain may fail with. */
struct block_extents *block_extents_open(struct block *block, const char *name, const char *older,
                                         struct err *err);
void block_extents_close(struct block_extents *extents);
CLEANUP_DEFINE(block_extents, struct block_extents *, block_extents_close)

/* Of the newer member's disk. */
uint64_t block_extents_size_bytes(const struct block_extents *extents);

/* Offsets and lengths are multiples of it, but for those at a disk's end. */
uint64_t block_extents_granularity_bytes(const struct block_extents *extents);

/* Lists extents from *offset on, which is at most the size: ascending, apart from each other or of
 * different kinds, `room` (> 0) of them at most, in *count. *offset: where the next call goes on;
 * the size: that was all. After `time_ms` the list ends wherever it is, also within an extent.
 * OpenFileFailed: an image cannot be read. */
int block_extents_list(struct block_extents *extents, uint64_t *offset, unsigned time_ms,
                       struct block_extent *list, size_t room, size_t *count, struct err *err);

#endif
