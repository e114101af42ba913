/* SPDX-License-Identifier: Apache-2.0
 *
 * See opening.h.
 */
#include "block/device/opening.h"

#include "base/cleanup.h"
#include "base/condition.h"
#include "block/device/readers.h"
#include "block/image/node.h"

#include <assert.h>
#include <string.h>

/* An opening that was overtaken that often is waited for. */
enum { FREE_ROUNDS = 3 };

void openings_init(struct openings *openings, struct readers *walkers)
{
    openings->walkers = walkers;
    pthread_mutex_init(&openings->lock, NULL);
    pthread_cond_init(&openings->ended, NULL);
}

void openings_destroy(struct openings *openings)
{
    assert(!openings->first && !openings->children);
    pthread_cond_destroy(&openings->ended);
    pthread_mutex_destroy(&openings->lock);
}

/* ---- what has left ---- */

/* The place of that image, or of the one that left first. */
static size_t left_images_place(const struct left_images *left, const struct node *image)
{
    size_t oldest = 0;
    for (size_t i = 0; i < LEFT_IMAGES_KEPT; i++) {
        if (left->images[i].number && left->images[i].dev == image->dev &&
            left->images[i].ino == image->ino)
            return i;
        if (left->images[i].number < left->images[oldest].number)
            oldest = i;
    }
    return oldest;
}

void openings_forbid(struct openings *all, const struct node *image)
{
    struct left_images *left = &all->left;
    LOCK_GUARD(&all->lock);
    size_t at = left_images_place(left, image);
    bool is_same = left->images[at].dev == image->dev && left->images[at].ino == image->ino;
    if (left->images[at].number && !is_same)
        left->forgotten = left->images[at].number;
    left->images[at].dev = image->dev;
    left->images[at].ino = image->ino;
    left->images[at].number = ++left->count;
}

/* Whether the image left after that. */
static bool left_images_has(const struct left_images *left, uint64_t since,
                            const struct node *image)
{
    for (size_t i = 0; i < LEFT_IMAGES_KEPT; i++)
        if (left->images[i].number > since && left->images[i].dev == image->dev &&
            left->images[i].ino == image->ino)
            return true;
    return false;
}

/* Nothing can be said of a chain that could not be opened: a header may have named what is gone. */
static bool chain_is_overtaken_locked(const struct opening *opening, const struct node *top)
{
    const struct left_images *left = &opening->all->left;
    if (left->count == opening->begun)
        return false;
    if (!top || opening->begun < left->forgotten)
        return true;
    for (const struct node *node = top->backing; node; node = node->backing)
        if (left_images_has(left, opening->begun, node))
            return true;
    return false;
}

/* ---- the openings ---- */

static void opening_enter(struct opening *opening)
{
    assert(!opening->is_walker);
    opening->walker = readers_enter(opening->all->walkers);
    opening->is_walker = true;
}

static void opening_unlist(struct opening *opening)
{
    struct openings *openings = opening->all;
    LOCK_GUARD(&openings->lock);
    struct opening **slot = &openings->first;
    while (*slot != opening)
        slot = &(*slot)->next;
    *slot = opening->next;
    pthread_cond_broadcast(&openings->ended);
}

void opening_end(struct opening *opening)
{
    if (opening->is_walker)
        readers_leave(opening->all->walkers, opening->walker);
    if (opening->is_listed)
        opening_unlist(opening);
    opening->is_walker = opening->is_listed = opening->is_settled = false;
}

void opening_begin(struct opening *opening, const char *image)
{
    struct openings *openings = opening->all;
    opening_end(opening);
    if (opening->rounds++ >= FREE_ROUNDS)
        opening_enter(opening);
    LOCK_GUARD(&openings->lock);
    opening->image = image;
    opening->begun = openings->left.count;
    opening->serial = ++openings->serial;
    opening->next = openings->first;
    openings->first = opening;
    opening->is_listed = true;
}

static bool openings_have_locked(const struct openings *openings, const char *image, uint64_t until)
{
    for (const struct opening *opening = openings->first; opening; opening = opening->next)
        if (opening->serial <= until && strcmp(opening->image, image) == 0)
            return true;
    return false;
}

void openings_await(struct openings *all, const char *image)
{
    LOCK_GUARD(&all->lock);
    uint64_t until = all->serial;
    while (openings_have_locked(all, image, until))
        condition_wait(&all->ended, &all->lock);
}

bool opening_settle(struct opening *opening, const struct node *top)
{
    assert(!opening->is_settled && opening->rounds > 0);
    bool is_awaited = opening->is_walker;
    if (!is_awaited)
        opening_enter(opening); /* O2: before it asks */
    pthread_mutex_lock(&opening->all->lock);
    bool is_overtaken = !is_awaited && chain_is_overtaken_locked(opening, top); /* O1 */
    pthread_mutex_unlock(&opening->all->lock);
    opening->is_settled = top && !is_overtaken;
    if (!opening->is_settled)
        opening_end(opening);
    return !is_overtaken;
}

/* ---- images that are made on others ---- */

void child_begin(struct openings *all, struct child *child, const struct node *base)
{
    LOCK_GUARD(&all->lock);
    *child = (struct child){all, all->children, ++all->serial, base};
    all->children = child;
}

void child_end(struct child *child)
{
    struct openings *all = child->all;
    if (!all)
        return;
    LOCK_GUARD(&all->lock);
    struct child **slot = &all->children;
    while (*slot != child)
        slot = &(*slot)->next;
    *slot = child->next;
    child->all = NULL;
    pthread_cond_broadcast(&all->ended);
}

static bool children_have_locked(const struct openings *all, const struct node *base,
                                 uint64_t until)
{
    for (const struct child *child = all->children; child; child = child->next)
        if (child->serial <= until && child->base->dev == base->dev &&
            child->base->ino == base->ino)
            return true;
    return false;
}

void children_await(struct openings *all, const struct node *base)
{
    LOCK_GUARD(&all->lock);
    uint64_t until = all->serial;
    while (children_have_locked(all, base, until))
        condition_wait(&all->ended, &all->lock);
}
