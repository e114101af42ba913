/* SPDX-License-Identifier: Apache-2.0
 *
 * See index.h. The shape of the data:
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
#include "block/device/index.h"

#include "block/image/chain.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum {
    GRANULE_BYTES = 4 << 10,
    UNIT_BYTES = 64 << 10,
    UNIT_GRANULES = UNIT_BYTES / GRANULE_BYTES,
    RANGE_UNITS = 512,
    SLOTS_MAX = 1 << 16,
    HOST_SHIFT = 13,
    LAYER_SHIFT = 3,
    LAYER_MASK = CHAIN_NODES_MAX - 1,
    NEWEST_LAYER_SHIFT = 54,
    WALKS_SHARE = 8, /* of the budget, for walks: one part in so many */
};
#define RANGE_BYTES  ((uint64_t)RANGE_UNITS * UNIT_BYTES)
#define RECORD_BYTES (UNIT_GRANULES * sizeof(uint64_t))
static_assert(CHAIN_NODES_MAX << LAYER_SHIFT == 1 << HOST_SHIFT, "a layer fits");

enum what { UNKNOWN, ZERO, DATA, WALK, MIXED };
enum { WHAT_MASK = 7 };

struct index_page {
    struct index *index;
    struct index_page *older, *newer;
    uint64_t range;
    uint64_t bytes; /* with its records */
    bool is_used;   /* since the last search for a page to evict */
    uint64_t entries[RANGE_UNITS];
};

struct slot {
    struct index_page *page;
    uint64_t changes; /* calls of index_forget() */
};

struct index {
    pthread_mutex_t lock; /* guards the slots, and what is in pages but for the links */
    struct index_memory *memory;
    uint64_t size_bytes;
    uint64_t slot_count;
    struct slot *slots;
    struct walks walks;
    const struct cut *cut;
    struct node *layers[CHAIN_NODES_MAX]; /* base first; only grows */
    atomic_uint_least64_t newest;         /* the last layer and the epoch that it is armed for */
    struct index *_Atomic heir;           /* takes its place, and is told of changes too; or NULL */
    _Atomic(struct node *) unsealed;      /* the layer below it, from index_arm() to index_seal() */
};

/* ---- layers ---- */

static uint64_t newest_pack(unsigned layer, uint64_t epoch)
{
    assert(layer < CHAIN_NODES_MAX && epoch >> NEWEST_LAYER_SHIFT == 0);
    return (uint64_t)layer << NEWEST_LAYER_SHIFT | epoch;
}

static unsigned newest_layer(uint64_t newest)
{
    return (unsigned)(newest >> NEWEST_LAYER_SHIFT);
}

/* The number of the top. `newest` is loaded first: an overlay that is armed later is the top from a
 * later epoch only, and who needs to see it has seen that epoch before this began. */
static unsigned index_top_layer(const struct index *index)
{
    uint64_t newest = atomic_load_explicit(&index->newest, memory_order_acquire);
    uint64_t armed_for = newest & ((1ULL << NEWEST_LAYER_SHIFT) - 1);
    return newest_layer(newest) - (armed_for > cut_epoch(index->cut));
}

struct node *index_top(const struct index *index)
{
    return index->layers[index_top_layer(index)];
}

const struct node *index_unsealed(const struct index *index)
{
    return atomic_load_explicit(&index->unsealed, memory_order_acquire);
}

struct node *const *index_layers(const struct index *index, unsigned *count)
{
    *count = index_top_layer(index) + 1;
    return index->layers;
}

/* One image is two nodes if it was opened by two names, or is written (file-table.h). */
static bool layers_are_same(const struct node *one, const struct node *other)
{
    return one == other || (one->dev == other->dev && one->ino == other->ino);
}

unsigned index_common_layers(const struct index *index, const struct index *other)
{
    unsigned count, other_count, common = 0;
    struct node *const *layers = index_layers(index, &count);
    struct node *const *other_layers = index_layers(other, &other_count);
    while (common < count && common < other_count &&
           layers_are_same(layers[common], other_layers[common]))
        common++;
    return common;
}

/* ---- entries ---- */

static enum what entry_what(uint64_t entry)
{
    return (enum what)(entry & WHAT_MASK);
}

static uint64_t entry_data(unsigned layer, uint64_t host)
{
    return DATA | (uint64_t)layer << LAYER_SHIFT | host / BLOCK_SECTOR_BYTES << HOST_SHIFT;
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
    return entry_what(entry) == DATA ? entry + (bytes / BLOCK_SECTOR_BYTES << HOST_SHIFT) : entry;
}

/* The entry of granule `i` of a unit. */
static uint64_t entry_of_granule(uint64_t entry, unsigned i)
{
    if (entry_what(entry) == MIXED)
        return entry_record(entry)[i];
    return entry_advance(entry, (uint64_t)i * GRANULE_BYTES);
}

/* ---- pages ---- */

static struct slot *index_slot(const struct index *index, uint64_t range)
{
    return &index->slots[range % index->slot_count];
}

/* The page of the range, or NULL. Lock held. */
static struct index_page *page_find(const struct index *index, uint64_t range)
{
    struct index_page *page = index_slot(index, range)->page;
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
    index_slot(page->index, page->range)->page = NULL;
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
        LOCK_GUARD(&page->index->lock);
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
static struct index_page *page_get(struct index *index, uint64_t range)
{
    struct slot *slot = index_slot(index, range);
    if (slot->page && slot->page->range == range)
        return slot->page;
    if (slot->page)
        page_free(index->memory, slot->page);
    struct index_page *page = calloc(1, sizeof(*page));
    if (!page)
        return NULL;
    page->index = index;
    page->range = range;
    page->bytes = sizeof(*page);
    index->memory->used_bytes += page->bytes;
    page_link(index->memory, page);
    slot->page = page;
    return page;
}

/* ---- life ---- */

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

static void index_forget(void *arg, uint64_t offset, uint64_t length);

/* Slots for a disk of that size; NULL when memory is short. */
static struct slot *slots_new(uint64_t size_bytes, uint64_t *count)
{
    *count = 1;
    while (*count < SLOTS_MAX && *count * RANGE_BYTES < size_bytes)
        *count *= 2;
    return calloc(*count, sizeof(struct slot));
}

/* The node below in the chain from which an image is taken out; NULL: none is. */
static struct node *node_below(const struct node *node, const struct index_bypass *bypass)
{
    struct node *below = node->backing;
    return bypass && below == bypass->out ? bypass->instead : below;
}

static struct index *index_new_unwatched(struct index_memory *memory, const struct cut *cut,
                                         struct node *top, const struct index_bypass *bypass)
{
    struct index *index = calloc(1, sizeof(*index));
    if (!index)
        return NULL;
    unsigned count = 0;
    for (struct node *node = top; node; node = node_below(node, bypass))
        count++;
    index->memory = memory;
    index->cut = cut;
    index->size_bytes = top->size_bytes;
    index->slots = slots_new(top->size_bytes, &index->slot_count);
    if (!index->slots || count > CHAIN_NODES_MAX) {
        free(index->slots);
        free(index);
        return NULL;
    }
    pthread_mutex_init(&index->lock, NULL);
    walks_init(&index->walks, &memory->walks);
    atomic_init(&index->newest, newest_pack(count - 1, 0));
    for (struct node *node = top; node; node = node_below(node, bypass))
        index->layers[--count] = node;
    return index;
}

/* Not a frozen one, which may be the top of several chains, even while a job has thawed it (Z2 in
 * freeze.c): its index would go without an end to the watch once it is frozen again. */
static bool is_live(struct node *top)
{
    return !atomic_load(&top->read_only) && !atomic_load(&top->was_thawed);
}

struct index *index_new(struct index_memory *memory, const struct cut *cut, struct node *top)
{
    struct index *index = index_new_unwatched(memory, cut, top, NULL);
    if (index && is_live(top))
        node_watch(top, index_forget, index);
    return index;
}

struct index *index_new_heir(const struct index *index, const struct index_bypass *bypass)
{
    assert(!index_unsealed(index) && !atomic_load(&index->heir));
    struct node *top = index_top(index);
    if (top == bypass->out)
        top = bypass->instead;
    return index_new_unwatched(index->memory, index->cut, top, bypass);
}

void index_announce(struct index *index, struct index *heir)
{
    atomic_store(&index->heir, heir);
}

void index_hand_over(struct index *index)
{
    node_watch_instead(index_top(index), index, atomic_load(&index->heir));
}

bool index_has(const struct index *index, const struct node *node)
{
    unsigned layer = newest_layer(atomic_load(&index->newest));
    while (layer && index->layers[layer] != node)
        layer--;
    return index->layers[layer] == node;
}

void index_free(struct index *index)
{
    struct node *top = index_top(index);
    assert(!index_unsealed(index));
    if (!atomic_load(&index->heir) && is_live(top))
        node_watch(top, NULL, NULL);
    index_drop_heir(index);
}

void index_drop_heir(struct index *index)
{
    /* Page by page: requests of all devices wait for the lock. Nobody adds one any more. */
    for (uint64_t i = 0; i < index->slot_count; i++) {
        LOCK_GUARD(&index->memory->lock);
        if (index->slots[i].page)
            page_free(index->memory, index->slots[i].page);
    }
    walks_destroy(&index->walks);
    pthread_mutex_destroy(&index->lock);
    free(index->slots);
    free(index);
}

void index_arm(struct index *index, struct node *overlay, uint64_t epoch)
{
    unsigned layer = newest_layer(atomic_load(&index->newest));
    struct node *top = index->layers[layer];
    assert(overlay->backing == top && layer + 1 < CHAIN_NODES_MAX);
    assert(!index_unsealed(index));             /* X4 */
    assert(epoch == cut_epoch(index->cut) + 1); /* E1 */
    index->layers[layer + 1] = overlay;
    node_watch(overlay, index_forget, index);
    atomic_store(&index->unsealed, top);
    atomic_store(&index->newest, newest_pack(layer + 1, epoch));
}

void index_seal(struct index *index)
{
    struct node *sealed = atomic_load(&index->unsealed);
    assert(sealed && sealed == index_top(index)->backing); /* X4 */
    node_watch(sealed, NULL, NULL);
    atomic_store(&index->unsealed, NULL);
}

/* ---- finding ---- */

/* The entry of the granule at `offset`; *left: how far it reaches. Lock held. */
static uint64_t granule_find(struct index *index, uint64_t offset, uint64_t *left)
{
    struct index_page *page = page_find(index, offset / RANGE_BYTES);
    *left = UNIT_BYTES - offset % UNIT_BYTES;
    if (!page)
        return UNKNOWN;
    page->is_used = true;
    uint64_t entry = page->entries[offset % RANGE_BYTES / UNIT_BYTES];
    if (entry_what(entry) == MIXED)
        *left = GRANULE_BYTES - offset % GRANULE_BYTES;
    return entry_of_granule(entry, offset % UNIT_BYTES / GRANULE_BYTES);
}

/* Whether `entry` extends `found`, which began with the entry `first`. */
static bool granule_continues(uint64_t entry, uint64_t first, const struct chain_extent *found)
{
    if (entry_what(entry) != entry_what(first))
        return false;
    return entry_what(entry) != DATA || (entry_layer(entry) == entry_layer(first) &&
                                         entry_host(entry) == found->host + found->length);
}

enum index_answer index_find(struct index *index, const struct node *top, uint64_t offset,
                             struct chain_extent *found)
{
    uint64_t maximum = found->length, left;
    LOCK_GUARD(&index->lock);
    uint64_t first = granule_find(index, offset, &left);
    if (entry_what(first) == UNKNOWN || index_top(index) != top)
        return INDEX_MISS;
    *found = (struct chain_extent){.kind = EXTENT_ZERO};
    if (entry_what(first) == DATA) {
        found->kind = EXTENT_DATA;
        found->node = index->layers[entry_layer(first)];
        found->host = entry_host(first) + offset % GRANULE_BYTES;
    }
    found->length = left;
    while (found->length < maximum) {
        uint64_t entry = granule_find(index, offset + found->length, &left);
        if (!granule_continues(entry, first, found))
            break;
        found->length += left;
    }
    if (found->length > maximum)
        found->length = maximum;
    return entry_what(first) == WALK ? INDEX_WALK : INDEX_FOUND;
}

/* ---- filling ---- */

/* A unit while it is mapped: known granules, the rest UNKNOWN. */
struct unit {
    uint64_t start, end; /* the device may end within it */
    uint64_t changes;    /* of its slot, when this began */
    uint64_t granules[UNIT_GRANULES];
};

static void unit_begin(struct index *index, uint64_t offset, struct unit *unit)
{
    LOCK_GUARD(&index->lock); /* the device may grow: the end is that of the count of changes */
    unit->start = offset - offset % UNIT_BYTES;
    unit->end = unit->start + UNIT_BYTES;
    if (unit->end > index->size_bytes)
        unit->end = index->size_bytes;
    unit->changes = index_slot(index, offset / RANGE_BYTES)->changes;
    struct index_page *page = page_find(index, offset / RANGE_BYTES);
    uint64_t entry = page ? page->entries[offset % RANGE_BYTES / UNIT_BYTES] : UNKNOWN;
    for (unsigned i = 0; i < UNIT_GRANULES; i++)
        unit->granules[i] = entry_of_granule(entry, i);
}

static unsigned index_layer(const struct index *index, const struct node *node)
{
    unsigned layer = newest_layer(atomic_load(&index->newest));
    while (index->layers[layer] != node)
        layer--;
    return layer;
}

static uint64_t index_entry(const struct index *index, const struct chain_extent *extent)
{
    if (extent->kind != EXTENT_DATA)
        return ZERO;
    if (extent->host == EXTENT_NO_HOST)
        return WALK;
    return entry_data(index_layer(index, extent->node), extent->host);
}

/* Sets [at, at + length) to `entry`; a granule that is covered in part becomes WALK. */
static void unit_take(struct unit *unit, uint64_t at, uint64_t length, uint64_t entry)
{
    uint64_t end = at + length;
    while (at < end) {
        uint64_t start = at - at % GRANULE_BYTES, next = start + GRANULE_BYTES;
        if (next > unit->end)
            next = unit->end;
        bool is_whole = at == start && next <= end;
        unit->granules[(start - unit->start) / GRANULE_BYTES] = is_whole ? entry : WALK;
        entry = entry_advance(entry, next - at);
        at = next;
    }
}

int index_map(struct index *index, uint64_t offset, unsigned flags, struct chain_extent *found)
{
    return index_map_above(index, 0, offset, flags, found);
}

int index_map_above(struct index *index, unsigned floor, uint64_t offset, unsigned flags,
                    struct chain_extent *found)
{
    unsigned count = index_top_layer(index) + 1;
    if (floor < count)
        return walks_map(&index->walks, index->layers, count, floor, offset, flags, found);
    *found = (struct chain_extent){.kind = EXTENT_BACKING, .length = found->length};
    return 0;
}

static int unit_map(struct index *index, struct unit *unit, unsigned flags)
{
    for (uint64_t at = unit->start; at < unit->end;) {
        if (at % GRANULE_BYTES == 0 && unit->granules[at % UNIT_BYTES / GRANULE_BYTES] != UNKNOWN) {
            at += GRANULE_BYTES;
            continue;
        }
        struct chain_extent extent = {.length = unit->end - at};
        int ret = index_map(index, at, flags, &extent);
        if (ret)
            return ret;
        unit_take(unit, at, extent.length, index_entry(index, &extent));
        at += extent.length;
    }
    return 0;
}

/* Whether the first granule's entry describes the whole unit. */
static bool unit_is_plain(const struct unit *unit)
{
    for (unsigned i = 1; unit->start + (uint64_t)i * GRANULE_BYTES < unit->end; i++)
        if (unit->granules[i] != entry_of_granule(unit->granules[0], i))
            return false;
    return true;
}

/* Both locks held. 0 or -ENOMEM. */
static int page_keep(struct index_memory *memory, struct index_page *page, const struct unit *unit)
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

/* Stores the unit unless it changed since unit_begin(). */
static int unit_keep(struct index *index, const struct unit *unit)
{
    struct index_memory *memory = index->memory;
    uint64_t range = unit->start / RANGE_BYTES;
    LOCK_GUARD(&memory->lock);
    memory_make_room(memory, sizeof(struct index_page) + RECORD_BYTES);
    LOCK_GUARD(&index->lock);
    if (index_slot(index, range)->changes != unit->changes)
        return 0;
    struct index_page *page = page_get(index, range);
    assert(index_slot(index, range)->changes == unit->changes); /* X3 */
    return page ? page_keep(memory, page, unit) : -ENOMEM;
}

int index_fill(struct index *index, uint64_t offset, unsigned flags)
{
    struct unit unit;
    unit_begin(index, offset, &unit);
    int ret = unit_map(index, &unit, flags);
    return ret ? ret : unit_keep(index, &unit);
}

/* ---- forgetting ---- */

/* Invalidates [at, end) of a unit: the granules of a mixed one, else the whole unit. Lock held. */
static void unit_forget(struct index_page *page, uint64_t at, uint64_t end)
{
    uint64_t *entry = &page->entries[at % RANGE_BYTES / UNIT_BYTES];
    if (entry_what(*entry) != MIXED) {
        *entry = UNKNOWN;
        return;
    }
    uint64_t first = at % UNIT_BYTES / GRANULE_BYTES;
    uint64_t last = (end - 1) % UNIT_BYTES / GRANULE_BYTES;
    for (uint64_t i = first; i <= last; i++)
        entry_record(*entry)[i] = UNKNOWN;
}

static void index_forget_range_locked(struct index *index, uint64_t offset, uint64_t length)
{
    uint64_t end = offset + length;
    for (uint64_t at = offset, next; at < end; at = next) {
        struct index_page *page = page_find(index, at / RANGE_BYTES);
        next = at - at % RANGE_BYTES + RANGE_BYTES;
        if (next > end)
            next = end;
        index_slot(index, at / RANGE_BYTES)->changes++;
        for (uint64_t unit_end; page && at < next; at = unit_end) {
            unit_end = at - at % UNIT_BYTES + UNIT_BYTES;
            if (unit_end > next)
                unit_end = next;
            unit_forget(page, at, unit_end);
        }
    }
}

static void index_forget_range(struct index *index, uint64_t offset, uint64_t length)
{
    LOCK_GUARD(&index->lock);
    index_forget_range_locked(index, offset, length);
}

/* Called by node_watch(): the top's map() of the range has changed. */
static void index_forget(void *arg, uint64_t offset, uint64_t length)
{
    struct index *index = arg;
    struct index *heir = atomic_load(&index->heir);
    index_forget_range(index, offset, length);
    if (heir)
        index_forget_range(heir, offset, length);
}

/* ---- growing ---- */

struct index_room {
    uint64_t size_bytes;
    uint64_t slot_count;
    struct slot *slots;
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

/* The index gets the room's slots. What shares a new one shared an old one before; who maps a unit
 * meanwhile finds the count of changes that it began with (X3). Lock held. */
static void index_exchange_slots(struct index *index, struct index_room *room)
{
    struct slot *old = index->slots;
    const uint64_t old_count = index->slot_count;
    assert(room->slot_count % old_count == 0);
    index->slots = room->slots;
    index->slot_count = room->slot_count;
    for (uint64_t i = 0; i < index->slot_count; i++)
        index->slots[i].changes = old[i % old_count].changes;
    for (uint64_t i = 0; i < old_count; i++)
        if (old[i].page)
            index_slot(index, old[i].page->range)->page = old[i].page;
    room->slots = old;
    room->slot_count = old_count;
}

void index_grow(struct index *index, struct index_room *room)
{
    const uint64_t old_end = index->size_bytes, first = old_end - old_end % GRANULE_BYTES;
    LOCK_GUARD(&index->lock);
    assert(room->size_bytes > old_end);
    if (room->slot_count > index->slot_count)
        index_exchange_slots(index, room);
    index->size_bytes = room->size_bytes;
    if (old_end % UNIT_BYTES) /* entries of the last unit were made as if all ended there */
        index_forget_range_locked(index, first, UNIT_BYTES - first % UNIT_BYTES);
}
