/* SPDX-License-Identifier: Apache-2.0
 *
 * See index-pages.h. The shape of the data:
 *
 *     slots[range % slot_count] -> page of one range (32 MiB) -> entry of one unit (64 KiB)
 *                                                                |
 *                                            mixed units only    +-> record: entries of granules
 *
 *     entry   2..0 what     12..3 layer     63..13 host offset / 512       (DATA)
 *             2..0 what     63..3 the record's address                     (MIXED)
 *
 * The entry of a unit describes it alone if the unit is zeros or contiguous in one layer. A mixed
 * unit (layers differ in cluster size, or have subclusters) has a record of its granules. A granule
 * that is mixed itself, or compressed, is WALK: its reads walk the chain. If a device has more
 * ranges than slots, ranges share a slot; the last one occupies it.
 */
#include "block/device/index-pages.h"

#include "block/image/chain.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
    GRANULE_BYTES = 4 << 10,
    UNIT_BYTES = 64 << 10,
    RANGE_UNITS = 512,
    SLOTS_MAX = 1 << 16,
    HOST_SHIFT = 13,
    LAYER_SHIFT = 3,
    LAYER_MASK = CHAIN_NODES_MAX - 1,
    WALKS_SHARE = 8, /* of the budget, for walks: one part in so many */
};
#define RANGE_BYTES  ((uint64_t)RANGE_UNITS * UNIT_BYTES)
#define RECORD_BYTES (INDEX_UNIT_GRANULES * sizeof(uint64_t))
static_assert(CHAIN_NODES_MAX << LAYER_SHIFT == 1 << HOST_SHIFT, "a layer fits");

enum { MIXED = KNOWN_WALK + 1, WHAT_MASK = 7 };

struct index_page {
    struct index_pages *owner;
    struct index_page *older, *newer;
    uint64_t range;
    uint64_t bytes; /* with its records */
    bool is_used;   /* since the last search for a page to evict */
    uint64_t entries[RANGE_UNITS];
};

struct index_slot {
    struct index_page *page;
    uint64_t changes; /* calls of index_pages_forget() */
};

/* ---- entries ---- */

static unsigned entry_what(uint64_t entry)
{
    return (unsigned)(entry & WHAT_MASK);
}

static uint64_t entry_data(unsigned layer, uint64_t host)
{
    return KNOWN_DATA | (uint64_t)layer << LAYER_SHIFT | host / BLOCK_SECTOR_BYTES << HOST_SHIFT;
}

static unsigned entry_layer(uint64_t entry)
{
    return (unsigned)(entry >> LAYER_SHIFT) & LAYER_MASK;
}

static uint64_t entry_host(uint64_t entry)
{
    return (entry >> HOST_SHIFT) * BLOCK_SECTOR_BYTES;
}

static uint64_t *entry_record(uint64_t entry)
{
    return (uint64_t *)(uintptr_t)(entry & ~(uint64_t)WHAT_MASK);
}

/* The entry for `bytes` further on in the same extent. */
static uint64_t entry_advance(uint64_t entry, uint64_t bytes)
{
    return entry_what(entry) == KNOWN_DATA ? entry + (bytes / BLOCK_SECTOR_BYTES << HOST_SHIFT)
                                           : entry;
}

/* The entry of granule `i` of a unit. */
static uint64_t entry_of_granule(uint64_t entry, unsigned i)
{
    if (entry_what(entry) == MIXED)
        return entry_record(entry)[i];
    return entry_advance(entry, (uint64_t)i * GRANULE_BYTES);
}

/* ---- pages ---- */

static struct index_slot *slot_of(const struct index_pages *pages, uint64_t range)
{
    return &pages->slots[range % pages->slot_count];
}

/* The page of the range, or NULL. Lock held. */
static struct index_page *page_find(const struct index_pages *pages, uint64_t range)
{
    struct index_page *page = slot_of(pages, range)->page;
    return page && page->range == range ? page : NULL;
}

static void page_unlink(struct index_memory *memory, struct index_page *page)
{
    *(page->older ? &page->older->newer : &memory->oldest) = page->newer;
    *(page->newer ? &page->newer->older : &memory->newest) = page->older;
}

static void page_link(struct index_memory *memory, struct index_page *page)
{
    page->older = memory->newest;
    page->newer = NULL;
    *(memory->newest ? &memory->newest->newer : &memory->oldest) = page;
    memory->newest = page;
}

/* Both locks held. */
static void page_free(struct index_memory *memory, struct index_page *page)
{
    page_unlink(memory, page);
    memory->used_bytes -= page->bytes;
    slot_of(page->owner, page->range)->page = NULL;
    for (size_t i = 0; i < RANGE_UNITS; i++)
        if (entry_what(page->entries[i]) == MIXED)
            free(entry_record(page->entries[i]));
    free(page);
}

/* Forgets pages that nobody has looked at lately until `bytes` more fit into the budget, or there
 * are none. The memory's lock is held. */
static void memory_make_room(struct index_memory *memory, uint64_t bytes)
{
    bytes += atomic_load(&memory->walks.used_bytes);
    while (memory->oldest && memory->used_bytes + bytes > memory->budget_bytes) {
        struct index_page *page = memory->oldest;
        LOCK_GUARD(&page->owner->lock);
        if (!page->is_used) {
            page_free(memory, page);
            continue;
        }
        page->is_used = false;
        page_unlink(memory, page);
        page_link(memory, page);
    }
}

/* The page of the range, made if there is none; NULL when memory is short. Both locks held. */
static struct index_page *page_get(struct index_pages *pages, uint64_t range)
{
    struct index_slot *slot = slot_of(pages, range);
    if (slot->page && slot->page->range == range)
        return slot->page;
    if (slot->page)
        page_free(pages->memory, slot->page);
    struct index_page *page = calloc(1, sizeof(*page));
    if (!page)
        return NULL;
    page->owner = pages;
    page->range = range;
    page->bytes = sizeof(*page);
    pages->memory->used_bytes += page->bytes;
    page_link(pages->memory, page);
    slot->page = page;
    return page;
}

/* ---- memory ---- */

void index_memory_init(struct index_memory *memory, uint64_t budget_bytes)
{
    *memory = (struct index_memory){0};
    pthread_mutex_init(&memory->lock, NULL);
    index_memory_set_budget(memory, budget_bytes);
}

void index_memory_set_budget(struct index_memory *memory, uint64_t budget_bytes)
{
    LOCK_GUARD(&memory->lock);
    memory->budget_bytes = budget_bytes;
    atomic_store(&memory->walks.budget_bytes, budget_bytes / WALKS_SHARE);
}

void index_memory_get(struct index_memory *memory, uint64_t *used_bytes, uint64_t *budget_bytes)
{
    LOCK_GUARD(&memory->lock);
    *used_bytes = memory->used_bytes + atomic_load(&memory->walks.used_bytes);
    *budget_bytes = memory->budget_bytes;
}

void index_memory_destroy(struct index_memory *memory)
{
    assert(!memory->oldest && memory->used_bytes == 0);
    assert(atomic_load(&memory->walks.used_bytes) == 0);
    pthread_mutex_destroy(&memory->lock);
}

/* ---- life ---- */

/* Slots for a disk of that size; NULL when memory is short. */
static struct index_slot *slots_new(uint64_t size_bytes, uint64_t *count)
{
    *count = 1;
    while (*count < SLOTS_MAX && *count * RANGE_BYTES < size_bytes)
        *count *= 2;
    return calloc(*count, sizeof(struct index_slot));
}

int index_pages_init(struct index_pages *pages, struct index_memory *memory, uint64_t size_bytes)
{
    *pages = (struct index_pages){.memory = memory, .size_bytes = size_bytes};
    pages->slots = slots_new(size_bytes, &pages->slot_count);
    if (!pages->slots)
        return -ENOMEM;
    pthread_mutex_init(&pages->lock, NULL);
    return 0;
}

void index_pages_destroy(struct index_pages *pages)
{
    /* Page by page: requests of all devices wait for the lock. Nobody adds one any more. */
    for (uint64_t i = 0; i < pages->slot_count; i++) {
        LOCK_GUARD(&pages->memory->lock);
        if (pages->slots[i].page)
            page_free(pages->memory, pages->slots[i].page);
    }
    pthread_mutex_destroy(&pages->lock);
    free(pages->slots);
}

/* ---- finding ---- */

/* The entry of the granule at `offset`; *left: how far it reaches. Lock held. */
static uint64_t granule_find(struct index_pages *pages, uint64_t offset, uint64_t *left)
{
    struct index_page *page = page_find(pages, offset / RANGE_BYTES);
    *left = UNIT_BYTES - offset % UNIT_BYTES;
    if (!page)
        return KNOWN_NOTHING;
    page->is_used = true;
    uint64_t entry = page->entries[offset % RANGE_BYTES / UNIT_BYTES];
    if (entry_what(entry) == MIXED)
        *left = GRANULE_BYTES - offset % GRANULE_BYTES;
    return entry_of_granule(entry, offset % UNIT_BYTES / GRANULE_BYTES);
}

/* Whether `entry` extends what is known. */
static bool granule_continues(uint64_t entry, const struct index_known *known)
{
    if (entry_what(entry) != known->what)
        return false;
    return known->what != KNOWN_DATA ||
           (entry_layer(entry) == known->layer && entry_host(entry) == known->host + known->length);
}

void index_pages_find(struct index_pages *pages, uint64_t offset, struct index_known *known)
{
    uint64_t maximum = known->length, left;
    LOCK_GUARD(&pages->lock);
    uint64_t first = granule_find(pages, offset, &left);
    *known = (struct index_known){.what = entry_what(first), .length = left};
    if (known->what == KNOWN_DATA) {
        known->layer = entry_layer(first);
        known->host = entry_host(first) + offset % GRANULE_BYTES;
    }
    while (known->what != KNOWN_NOTHING && known->length < maximum) {
        uint64_t entry = granule_find(pages, offset + known->length, &left);
        if (!granule_continues(entry, known))
            break;
        known->length += left;
    }
    if (known->length > maximum)
        known->length = maximum;
}

/* ---- units ---- */

void index_unit_begin(struct index_pages *pages, uint64_t offset, struct index_unit *unit)
{
    LOCK_GUARD(&pages->lock); /* the device may grow: the end is that of the count of changes */
    unit->start = offset - offset % UNIT_BYTES;
    unit->end = unit->start + UNIT_BYTES;
    if (unit->end > pages->size_bytes)
        unit->end = pages->size_bytes;
    unit->changes = slot_of(pages, offset / RANGE_BYTES)->changes;
    struct index_page *page = page_find(pages, offset / RANGE_BYTES);
    uint64_t entry = page ? page->entries[offset % RANGE_BYTES / UNIT_BYTES] : KNOWN_NOTHING;
    for (unsigned i = 0; i < INDEX_UNIT_GRANULES; i++)
        unit->granules[i] = entry_of_granule(entry, i);
}

uint64_t index_unit_next(const struct index_unit *unit, uint64_t at)
{
    while (at < unit->end && at % GRANULE_BYTES == 0 &&
           unit->granules[at % UNIT_BYTES / GRANULE_BYTES] != KNOWN_NOTHING)
        at += GRANULE_BYTES;
    return at < unit->end ? at : unit->end;
}

void index_unit_take(struct index_unit *unit, uint64_t at, const struct index_known *known)
{
    uint64_t end = at + known->length, entry = known->what;
    if (known->what == KNOWN_DATA)
        entry = entry_data(known->layer, known->host);
    while (at < end) {
        uint64_t start = at - at % GRANULE_BYTES, next = start + GRANULE_BYTES;
        if (next > unit->end)
            next = unit->end;
        bool is_whole = at == start && next <= end;
        unit->granules[(start - unit->start) / GRANULE_BYTES] = is_whole ? entry : KNOWN_WALK;
        entry = entry_advance(entry, next - at);
        at = next;
    }
}

/* Whether the first granule's entry describes the whole unit. */
static bool unit_is_plain(const struct index_unit *unit)
{
    for (unsigned i = 1; unit->start + (uint64_t)i * GRANULE_BYTES < unit->end; i++)
        if (unit->granules[i] != entry_of_granule(unit->granules[0], i))
            return false;
    return true;
}

/* Both locks held. 0 or -ENOMEM. */
static int page_keep(struct index_memory *memory, struct index_page *page,
                     const struct index_unit *unit)
{
    uint64_t *entry = &page->entries[unit->start % RANGE_BYTES / UNIT_BYTES];
    uint64_t *record = entry_what(*entry) == MIXED ? entry_record(*entry) : NULL;
    if (unit_is_plain(unit)) {
        *entry = unit->granules[0];
        page->bytes -= record ? RECORD_BYTES : 0;
        memory->used_bytes -= record ? RECORD_BYTES : 0;
        free(record);
        return 0;
    }
    if (!record) {
        record = malloc(RECORD_BYTES);
        if (!record)
            return -ENOMEM;
        page->bytes += RECORD_BYTES;
        memory->used_bytes += RECORD_BYTES;
        *entry = (uint64_t)(uintptr_t)record | MIXED;
    }
    memcpy(record, unit->granules, RECORD_BYTES);
    return 0;
}

int index_unit_keep(struct index_pages *pages, const struct index_unit *unit)
{
    struct index_memory *memory = pages->memory;
    uint64_t range = unit->start / RANGE_BYTES;
    LOCK_GUARD(&memory->lock);
    memory_make_room(memory, sizeof(struct index_page) + RECORD_BYTES);
    LOCK_GUARD(&pages->lock);
    if (slot_of(pages, range)->changes != unit->changes)
        return 0;
    struct index_page *page = page_get(pages, range);
    assert(slot_of(pages, range)->changes == unit->changes); /* X3 */
    return page ? page_keep(memory, page, unit) : -ENOMEM;
}

/* ---- forgetting ---- */

/* Invalidates [at, end) of a unit: the granules of a mixed one, else the whole unit. Lock held. */
static void unit_forget(struct index_page *page, uint64_t at, uint64_t end)
{
    uint64_t *entry = &page->entries[at % RANGE_BYTES / UNIT_BYTES];
    if (entry_what(*entry) != MIXED) {
        *entry = KNOWN_NOTHING;
        return;
    }
    uint64_t first = at % UNIT_BYTES / GRANULE_BYTES;
    uint64_t last = (end - 1) % UNIT_BYTES / GRANULE_BYTES;
    for (uint64_t i = first; i <= last; i++)
        entry_record(*entry)[i] = KNOWN_NOTHING;
}

static void pages_forget_locked(struct index_pages *pages, uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length;
    for (uint64_t at = offset, next; at < end; at = next) {
        struct index_page *page = page_find(pages, at / RANGE_BYTES);
        next = at - at % RANGE_BYTES + RANGE_BYTES;
        if (next > end)
            next = end;
        slot_of(pages, at / RANGE_BYTES)->changes++;
        for (uint64_t unit_end; page && at < next; at = unit_end) {
            unit_end = at - at % UNIT_BYTES + UNIT_BYTES;
            if (unit_end > next)
                unit_end = next;
            unit_forget(page, at, unit_end);
        }
    }
}

void index_pages_forget(struct index_pages *pages, uint64_t offset, uint64_t length)
{
    LOCK_GUARD(&pages->lock);
    pages_forget_locked(pages, offset, length);
}

/* ---- growing ---- */

struct index_room {
    uint64_t size_bytes;
    uint64_t slot_count;
    struct index_slot *slots;
};

struct index_room *index_room_new(uint64_t size_bytes)
{
    struct index_room *room = calloc(1, sizeof(*room));
    if (!room)
        return NULL;
    room->size_bytes = size_bytes;
    room->slots = slots_new(size_bytes, &room->slot_count);
    if (room->slots)
        return room;
    free(room);
    return NULL;
}

void index_room_free(struct index_room *room)
{
    free(room->slots);
    free(room);
}

/* The pages get the room's slots. What shares a new one shared an old one before; who maps a unit
 * meanwhile finds the count of changes that it began with (X3). Lock held. */
static void slots_exchange(struct index_pages *pages, struct index_room *room)
{
    struct index_slot *old = pages->slots;
    const uint64_t old_count = pages->slot_count;
    assert(room->slot_count % old_count == 0);
    pages->slots = room->slots;
    pages->slot_count = room->slot_count;
    for (uint64_t i = 0; i < pages->slot_count; i++)
        pages->slots[i].changes = old[i % old_count].changes;
    for (uint64_t i = 0; i < old_count; i++)
        if (old[i].page)
            slot_of(pages, old[i].page->range)->page = old[i].page;
    room->slots = old;
    room->slot_count = old_count;
}

void index_pages_grow(struct index_pages *pages, struct index_room *room)
{
    const uint64_t old_end = pages->size_bytes, first = old_end - old_end % GRANULE_BYTES;
    LOCK_GUARD(&pages->lock);
    assert(room->size_bytes > old_end);
    if (room->slot_count > pages->slot_count)
        slots_exchange(pages, room);
    pages->size_bytes = room->size_bytes;
    if (old_end % UNIT_BYTES) /* entries of the last unit were made as if all ended there */
        pages_forget_locked(pages, first, UNIT_BYTES - first % UNIT_BYTES);
}
