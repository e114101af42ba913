/* SPDX-License-Identifier: Apache-2.0
 *
 * What an index knows of each unit of its disk, in pages; and the memory that all indexes share.
 * Layers are numbers here: index.h, of which this is a part, has the images and the invariants.
 *
 * Any thread may call anything but init and destroy at any time. Lock order: index_memory.lock,
 * index_pages.lock.
 */
#ifndef BLOCK_DEVICE_INDEX_PAGES_H
#define BLOCK_DEVICE_INDEX_PAGES_H

#include "block/image/walk.h"

struct index_page;
struct index_slot;

struct index_memory {
    pthread_mutex_t lock;
    uint64_t budget_bytes;
    uint64_t used_bytes;                /* guarded by lock, as are the pages' links */
    struct index_page *oldest, *newest; /* all pages, roughly by last use */
    struct walk_memory walks;           /* a part of the budget */
};

void index_memory_init(struct index_memory *memory, uint64_t budget_bytes);
void index_memory_set_budget(struct index_memory *memory, uint64_t budget_bytes);
void index_memory_get(struct index_memory *memory, uint64_t *used_bytes, uint64_t *budget_bytes);
void index_memory_destroy(struct index_memory *memory);

struct index_pages {
    pthread_mutex_t lock; /* guards the slots, and what is in pages but for the links */
    struct index_memory *memory;
    uint64_t size_bytes;
    uint64_t slot_count;
    struct index_slot *slots;
};

/* 0 or -ENOMEM. */
int index_pages_init(struct index_pages *pages, struct index_memory *memory, uint64_t size_bytes);
void index_pages_destroy(struct index_pages *pages);

/* What is known of a range of the disk. */
struct index_known {
    enum { KNOWN_NOTHING, KNOWN_ZERO, KNOWN_DATA, KNOWN_WALK } what;
    unsigned layer; /* these two of DATA */
    uint64_t host;
    uint64_t length;
};

/* Looks up what begins at `offset`; known->length: in: maximum; out: actual. */
void index_pages_find(struct index_pages *pages, uint64_t offset, struct index_known *known);

/* What is known of [offset, offset + length) may be no longer so. */
void index_pages_forget(struct index_pages *pages, uint64_t offset, uint64_t length);

/* A unit while it is mapped: entries of known granules, 0 for the rest. */
enum { INDEX_UNIT_GRANULES = 16 };
struct index_unit {
    uint64_t start, end; /* the device may end within it */
    uint64_t changes;    /* of its slot, when this began */
    uint64_t granules[INDEX_UNIT_GRANULES];
};

/* The unit at `offset`, with what is known of it. */
void index_unit_begin(struct index_pages *pages, uint64_t offset, struct index_unit *unit);

/* The first place from `at` on of which nothing is known; the end if there is none. */
uint64_t index_unit_next(const struct index_unit *unit, uint64_t at);

/* From `at` on the unit is as `known` says; a granule that is covered in part becomes a walk. */
void index_unit_take(struct index_unit *unit, uint64_t at, const struct index_known *known);

/* Keeps the unit unless it changed since index_unit_begin(). 0 or -ENOMEM. */
int index_unit_keep(struct index_pages *pages, const struct index_unit *unit);

/* What pages of a larger disk need, so that they grow without allocating. NULL when memory is
 * short. */
struct index_room;
struct index_room *index_room_new(uint64_t size_bytes);
void index_room_free(struct index_room *room);
void index_pages_grow(struct index_pages *pages, struct index_room *room);

#endif
