/* SPDX-License-Identifier: Apache-2.0
 *
 * See walk.h. A client that goes through a disk gets the walk that ended where it goes on; one that
 * comes from elsewhere gets one of its own if there may be one more, else the nearest. Walks with
 * and without MAP_HOLES know different things and are not mixed.
 */
#include "block/image/walk.h"

#include <assert.h>
#include <errno.h>

enum { ROOM_AHEAD = 32 }; /* layers to come that a walk has room for */

/* The extent [start, end) of a layer. */
struct mapped_extent {
    uint64_t start, end; /* equal: nothing is known */
    uint64_t host;       /* of `start`; as in struct extent */
    enum extent_kind kind;
};

struct walk {
    struct walk *next;
    uint64_t position; /* where its last answer ended */
    unsigned room;     /* of layers */
    bool has_holes;    /* mapped with MAP_HOLES */
    bool is_kept;      /* counted in kept_count and in the memory */
    struct mapped_extent layers[];
};

/* ---- which walk ---- */

void walks_init(struct walks *walks, struct walk_memory *memory)
{
    *walks = (struct walks){.memory = memory};
    pthread_mutex_init(&walks->lock, NULL);
}

static uint64_t walk_bytes(unsigned room)
{
    return sizeof(struct walk) + room * sizeof(struct mapped_extent);
}

/* Whether one more walk may be kept; it is counted then. Lock held. */
static bool walks_admit(struct walks *walks, unsigned room, bool has_holes)
{
    struct walk_memory *memory = walks->memory;
    uint64_t bytes = walk_bytes(room);
    if (walks->kept_count[has_holes] >= WALKS_KEPT_MAX)
        return false;
    if (atomic_fetch_add(&memory->used_bytes, bytes) + bytes > memory->budget_bytes) {
        atomic_fetch_sub(&memory->used_bytes, bytes);
        return false;
    }
    walks->kept_count[has_holes]++;
    return true;
}

static void walks_dismiss(struct walks *walks, unsigned room, bool has_holes)
{
    assert(walks->kept_count[has_holes] > 0 &&
           walks->kept_count[has_holes] <= WALKS_KEPT_MAX); /* W4 */
    walks->kept_count[has_holes]--;
    atomic_fetch_sub(&walks->memory->used_bytes, walk_bytes(room));
}

/* Of one that nobody uses. Lock held. */
static void walk_free(struct walks *walks, struct walk *walk)
{
    if (walk->is_kept)
        walks_dismiss(walks, walk->room, walk->has_holes);
    free(walk);
}

void walks_destroy(struct walks *walks)
{
    while (walks->idle) {
        struct walk *walk = walks->idle;
        walks->idle = walk->next;
        walk_free(walks, walk);
    }
    assert(walks->kept_count[false] == 0 && walks->kept_count[true] == 0);
    pthread_mutex_destroy(&walks->lock);
}

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

/* The link to the nearest idle walk, or NULL. Frees walks with too few layers. Lock held. */
static struct walk **walks_nearest(struct walks *walks, unsigned count, uint64_t offset,
                                   bool has_holes)
{
    struct walk **nearest = NULL, **link = &walks->idle;
    while (*link) {
        struct walk *walk = *link;
        if (walk->room < count) {
            *link = walk->next;
            walk_free(walks, walk);
            continue;
        }
        if (walk->has_holes == has_holes &&
            (!nearest || distance(walk->position, offset) < distance((*nearest)->position, offset)))
            nearest = link;
        link = &walk->next;
    }
    return nearest;
}

/* A walk for the caller alone, or NULL when memory is short. */
static struct walk *walks_take(struct walks *walks, unsigned count, uint64_t offset, bool has_holes)
{
    unsigned room = count + ROOM_AHEAD;
    LOCK_GUARD(&walks->lock);
    struct walk **nearest = walks_nearest(walks, count, offset, has_holes);
    bool is_exact = nearest && (*nearest)->position == offset;
    bool is_kept = !is_exact && walks_admit(walks, room, has_holes);
    if (nearest && !is_kept) {
        struct walk *walk = *nearest;
        *nearest = walk->next;
        return walk;
    }
    struct walk *walk = calloc(1, walk_bytes(room));
    if (walk)
        *walk = (struct walk){.room = room, .has_holes = has_holes, .is_kept = is_kept};
    else if (is_kept)
        walks_dismiss(walks, room, has_holes);
    return walk;
}

static void walks_give_back(struct walks *walks, struct walk *walk)
{
    if (!walk->is_kept) {
        free(walk);
        return;
    }
    LOCK_GUARD(&walks->lock);
    walk->next = walks->idle;
    walks->idle = walk;
}

/* ---- walking ---- */

/* Maps at most `length` bytes of a layer; past its end it is zeros, whatever lies below. `mapped`
 * is unchanged after an error. */
static int layer_map(struct node *node, uint64_t offset, uint64_t length, unsigned flags,
                     struct mapped_extent *mapped)
{
    if (offset >= node->size_bytes) {
        *mapped = (struct mapped_extent){node->size_bytes, UINT64_MAX, 0, EXTENT_ZERO};
        return 0;
    }
    struct extent extent = {.length = node->size_bytes - offset};
    if (extent.length > length)
        extent.length = length;
    bool is_held;
    int ret = node_begin_io(node, flags, &is_held);
    if (ret)
        return ret;
    const uint64_t maximum = extent.length;
    ret = node->driver->map(node, offset, flags, &extent);
    node_end_io(node, is_held);
    assert(ret || (extent.length > 0 && extent.length <= maximum));
    (void)maximum;
    if (ret == 0)
        *mapped =
            (struct mapped_extent){offset, offset + extent.length,
                                   flags & MAP_HOLES ? EXTENT_NO_HOST : extent.host, extent.kind};
    return ret;
}

static uint64_t mapped_host(const struct mapped_extent *mapped, uint64_t offset)
{
    return mapped->host == EXTENT_NO_HOST ? EXTENT_NO_HOST
                                          : mapped->host + (offset - mapped->start);
}

/* From the top, which is mapped as `mapped`, down to the first layer that has something, or to the
 * floor. `walk`: NULL if there is no other layer. */
static int walk_down(struct walk *walk, struct node *const *layers, unsigned count, unsigned floor,
                     uint64_t offset, unsigned flags, const struct mapped_extent *mapped,
                     struct chain_extent *found)
{
    unsigned layer = count - 1;
    uint64_t end = offset + found->length;
    if (end > mapped->end)
        end = mapped->end;
    struct mapped_extent fresh; /* of a layer that may still change */
    while (mapped->kind == EXTENT_BACKING && layer > floor) {
        struct node *node = layers[--layer];
        struct mapped_extent *extent =
            atomic_load(&node->read_only) ? &walk->layers[layer] : &fresh; /* W2 */
        if (extent == &fresh || offset < extent->start || offset >= extent->end) {
            int ret = layer_map(node, offset, UINT64_MAX, flags, extent);
            if (ret)
                return ret;
        }
        if (end > extent->end)
            end = extent->end;
        mapped = extent;
    }
    *found = (struct chain_extent){.kind = mapped->kind, .length = end - offset};
    if (mapped->kind != EXTENT_BACKING) {
        found->depth = count - layer;
        found->node = layers[layer];
        found->host = mapped_host(mapped, offset);
    }
    return 0;
}

int walks_map(struct walks *walks, struct node *const *layers, unsigned count, unsigned floor,
              uint64_t offset, unsigned flags, struct chain_extent *found)
{
    struct mapped_extent top;
    assert(floor < count);
    int ret = layer_map(layers[count - 1], offset, found->length, flags, &top);
    if (ret)
        return ret;
    if (count == 1)
        return walk_down(NULL, layers, count, floor, offset, flags, &top, found);
    /* Taken even if the top suffices: the walk follows its client. */
    struct walk *walk = walks_take(walks, count, offset, flags & MAP_HOLES);
    if (!walk)
        return -ENOMEM;
    ret = walk_down(walk, layers, count, floor, offset, flags, &top, found);
    if (ret == 0)
        walk->position = offset + found->length;
    walks_give_back(walks, walk);
    return ret;
}
