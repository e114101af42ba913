/* SPDX-License-Identifier: Apache-2.0
 *
 * See index.h.
 */
#include "block/device/index.h"

#include "block/image/chain.h"

#include <assert.h>

enum { NEWEST_LAYER_SHIFT = 54 };

struct index {
    struct index_pages pages;
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

/* ---- forgetting ---- */

/* Called by node_watch(): the top's map() of the range has changed. */
static void index_forget(void *arg, uint64_t offset, uint64_t length)
{
    struct index *index = arg;
    struct index *heir = atomic_load(&index->heir);
    index_pages_forget(&index->pages, offset, length);
    if (heir)
        index_pages_forget(&heir->pages, offset, length);
}

/* ---- life ---- */

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
    unsigned count = 1;
    for (struct node *node = top; (node = node_below(node, bypass));)
        count++;
    index->cut = cut;
    if (count > CHAIN_NODES_MAX || index_pages_init(&index->pages, memory, top->size_bytes) != 0) {
        free(index);
        return NULL;
    }
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

void index_watch_top(struct index *index)
{
    struct node *top = index_top(index);
    assert(!is_live(top) && !atomic_load(&top->read_only));
    node_watch(top, index_forget, index);
}

struct index *index_new_heir(const struct index *index, const struct index_bypass *bypass)
{
    assert(!index_unsealed(index) && !atomic_load(&index->heir));
    struct node *top = index_top(index);
    if (top == bypass->out)
        top = bypass->instead;
    return index_new_unwatched(index->pages.memory, index->cut, top, bypass);
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
    index_pages_destroy(&index->pages);
    walks_destroy(&index->walks);
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

enum index_answer index_find(struct index *index, const struct node *top, uint64_t offset,
                             struct chain_extent *found)
{
    struct index_known known = {.length = found->length};
    index_pages_find(&index->pages, offset, &known);
    if (known.what == KNOWN_NOTHING || index_top(index) != top)
        return INDEX_MISS;
    *found = (struct chain_extent){.kind = EXTENT_ZERO, .length = known.length};
    if (known.what == KNOWN_DATA) {
        found->kind = EXTENT_DATA;
        found->node = index->layers[known.layer];
        found->host = known.host;
    }
    return known.what == KNOWN_WALK ? INDEX_WALK : INDEX_FOUND;
}

/* ---- filling ---- */

static unsigned index_layer(const struct index *index, const struct node *node)
{
    unsigned layer = newest_layer(atomic_load(&index->newest));
    while (index->layers[layer] != node)
        layer--;
    return layer;
}

static struct index_known index_know(const struct index *index, const struct chain_extent *extent)
{
    struct index_known known = {.what = KNOWN_ZERO, .length = extent->length};
    if (extent->kind != EXTENT_DATA)
        return known;
    known.what = extent->host == EXTENT_NO_HOST ? KNOWN_WALK : KNOWN_DATA;
    if (known.what == KNOWN_DATA) {
        known.layer = index_layer(index, extent->node);
        known.host = extent->host;
    }
    return known;
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

static int unit_map(struct index *index, struct index_unit *unit, unsigned flags)
{
    uint64_t at = index_unit_next(unit, unit->start);
    while (at < unit->end) {
        struct chain_extent extent = {.length = unit->end - at};
        int ret = index_map(index, at, flags, &extent);
        if (ret)
            return ret;
        const struct index_known known = index_know(index, &extent);
        index_unit_take(unit, at, &known);
        at = index_unit_next(unit, at + extent.length);
    }
    return 0;
}

int index_fill(struct index *index, uint64_t offset, unsigned flags)
{
    struct index_unit unit;
    index_unit_begin(&index->pages, offset, &unit);
    int ret = unit_map(index, &unit, flags);
    return ret ? ret : index_unit_keep(&index->pages, &unit);
}

void index_grow(struct index *index, struct index_room *room)
{
    index_pages_grow(&index->pages, room);
}
