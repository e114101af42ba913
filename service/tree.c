/* SPDX-License-Identifier: Apache-2.0
 *
 * See tree.h.
 */
#include "service/tree.h"

#include "base/cleanup.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tree_is_needed(const struct tree_image *image)
{
    return image->is_member || image->is_top || image->is_kept;
}

bool tree_is_mergeable(const struct tree_image *image)
{
    return image->role != IMAGE_GIVEN && !image->is_gone && !image->is_used &&
           !tree_is_needed(image) && image->children == 1;
}

bool tree_is_removable(const struct tree_image *image)
{
    return image->role == IMAGE_MADE && !tree_is_needed(image) && !image->is_used &&
           image->children == 0;
}

/* ---- planning ---- */

/* Whether it is a child of the image under it. */
static bool image_counts(const struct tree_image *image)
{
    return image->backing != TREE_NONE && !image->is_gone && image->fate != TREE_GOES;
}

static void children_count(struct tree_image *images, size_t count)
{
    for (size_t i = 0; i < count; i++)
        images[i].children = 0;
    for (size_t i = 0; i < count; i++) {
        if (!image_counts(&images[i]))
            continue;
        assert(images[i].backing < i);
        images[images[i].backing].children++;
        images[images[i].backing].child = i;
    }
}

/* Marks all images of trees with one that is not complete: it is at the bottom. */
static void incomplete_mark(struct tree_image *images, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct tree_image *backing =
            images[i].backing == TREE_NONE ? NULL : &images[images[i].backing];
        images[i].fate = TREE_STAYS;
        images[i].partner = TREE_NONE;
        images[i].reason = !images[i].is_complete || (backing && backing->reason == TREE_INCOMPLETE)
                               ? TREE_INCOMPLETE
                               : TREE_REASONS;
    }
}

/* From the leaves down: an image that goes may make the one under it removable. */
static void removable_mark(struct tree_image *images, size_t count)
{
    for (size_t i = count; i-- > 0;) {
        struct tree_image *image = &images[i];
        if (image->reason == TREE_INCOMPLETE || !tree_is_removable(image))
            continue;
        if (image_counts(image))
            images[image->backing].children--;
        image->fate = TREE_GOES;
    }
}

/* Whether the child of a mergeable image may be pushed into it; else why not. */
static bool child_may_be_pushed(const struct tree_image *child, enum tree_reason *reason)
{
    *reason = child->is_read              ? TREE_UNDER_READ
              : child->is_top             ? TREE_UNDER_TOP
              : child->is_kept            ? TREE_UNDER_KEPT
              : child->role != IMAGE_MADE ? TREE_UNDER_ATTACHED
              : child->is_used            ? TREE_UNDER_USED
                                          : TREE_REASONS;
    return *reason == TREE_REASONS;
}

/* The maximal run that begins with a mergeable image, if its child may be pushed. */
static void run_mark(struct tree_image *images, size_t base)
{
    size_t upper = base;
    enum tree_reason reason = TREE_REASONS;
    assert(tree_is_mergeable(&images[base]));
    while (tree_is_mergeable(&images[upper]) &&
           child_may_be_pushed(&images[images[upper].child], &reason)) {
        upper = images[upper].child;
        assert(images[upper].fate == TREE_STAYS); /* T1 */
        images[upper].fate = TREE_PUSHED;
        images[upper].partner = base;
    }
    if (upper == base) {
        images[base].reason = reason;
        return;
    }
    assert(images[base].role != IMAGE_GIVEN); /* T2 */
    images[base].fate = TREE_BASE;
    images[base].partner = upper;
}

static enum tree_reason image_reason(const struct tree_image *image)
{
    return image->is_member             ? TREE_IS_MEMBER
           : image->is_top              ? TREE_IS_TOP
           : image->is_kept             ? TREE_IS_KEPT
           : image->is_gone             ? TREE_IS_GONE
           : image->children > 1        ? TREE_HAS_BRANCHES
           : image->is_used             ? TREE_IS_USED
           : image->role == IMAGE_GIVEN ? TREE_IS_GIVEN
                                        : TREE_IS_ATTACHED;
}

void tree_plan(struct tree_image *images, size_t count)
{
    incomplete_mark(images, count);
    children_count(images, count);
    removable_mark(images, count);
    children_count(images, count);
    for (size_t i = 0; i < count; i++) {
        struct tree_image *image = &images[i];
        if (image->fate != TREE_STAYS || image->reason == TREE_INCOMPLETE)
            continue;
        if (tree_is_mergeable(image))
            run_mark(images, i);
        else
            image->reason = image_reason(image);
    }
}

/* ---- rows ---- */

/* A path and where its image is. */
struct place {
    const char *path;
    size_t position;
};

static int place_compare(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->path, ((const struct place *)b)->path);
}

/* The position of the image with that path, or TREE_NONE. */
static size_t place_find(const struct place *places, size_t count, const char *path)
{
    const struct place wanted = {.path = path};
    const struct place *found = bsearch(&wanted, places, count, sizeof(*places), place_compare);
    return found ? found->position : TREE_NONE;
}

static int image_load(struct tree_image *image, const struct image_row *row, size_t position,
                      const struct place *places, size_t count, struct err *err)
{
    *image = (struct tree_image){.backing = TREE_NONE,
                                 .role = row->role,
                                 .is_member = row->group_name != NULL,
                                 .is_top = row->device != NULL,
                                 .is_kept = row->is_kept,
                                 .is_read = row->is_read,
                                 .is_complete = row->is_complete};
    if (!row->backing)
        return 0;
    image->backing = place_find(places, count, row->backing);
    if (image->backing < position)
        return 0;
    return err_set(err, ErrStoreFailed, 0,
                   "image '%s' in the database stands on '%s', which is not in its tree; restore "
                   "the database from a backup",
                   row->path, row->backing);
}

struct tree_image *tree_from_rows(const struct image_row *rows, size_t count, struct err *err)
{
    struct tree_image *images = calloc(count + 1, sizeof(*images));
    CLEANUP_FREE struct place *places = calloc(count + 1, sizeof(*places));
    if (!images || !places) {
        free(images);
        err_set(err, ErrOutOfResources, 0, "there is no memory for a tree of images");
        return NULL;
    }
    for (size_t i = 0; i < count; i++)
        places[i] = (struct place){rows[i].path, i};
    qsort(places, count, sizeof(*places), place_compare);
    for (size_t i = 0; i < count; i++)
        if (image_load(&images[i], &rows[i], i, places, count, err) != 0) {
            free(images);
            return NULL;
        }
    return images;
}

/* ---- reasons ---- */

/* %s: the group or the device whose name the row has, or the image on it. */
static const char *const reasons[TREE_REASONS] = {
    [TREE_INCOMPLETE] = "it is not known what is under an image of its tree, or of a device",
    [TREE_IS_MEMBER] = "snapshot group '%s' has it",
    [TREE_IS_TOP] = "device '%s' uses it",
    [TREE_IS_KEPT] = "a device that was detached had it",
    [TREE_IS_GONE] = "its file does not exist",
    [TREE_HAS_BRANCHES] = "several images, one of them '%s', stand on it",
    [TREE_IS_USED] = "another process has it open",
    [TREE_IS_GIVEN] = "it was given with a device, and is neither written nor removed",
    [TREE_IS_ATTACHED] = "it was attached by name, and is not removed",
    [TREE_UNDER_ATTACHED] = "image '%s', which stands on it, was attached by name, and is not "
                            "removed",
    [TREE_UNDER_USED] = "another process has image '%s', which stands on it, open",
    [TREE_UNDER_TOP] = "image '%s', which stands on it, is the top of a device; it is merged after "
                       "the next snapshot",
    [TREE_UNDER_READ] = "image '%s', which stands on it, is attached read-only",
    [TREE_UNDER_KEPT] = "image '%s', which stands on it, is the top of a detached device",
};

void tree_explain(const struct tree_image *images, const struct image_row *rows, size_t position,
                  char text[TREE_REASON_BYTES])
{
    const struct tree_image *image = &images[position];
    const char *name = image->children > 0 ? rows[image->child].path : "";
    assert(image->fate == TREE_STAYS && image->reason < TREE_REASONS);
    if (image->reason == TREE_IS_MEMBER)
        name = rows[position].group_name;
    if (image->reason == TREE_IS_TOP)
        name = rows[position].device;
    const char *phrase = reasons[image->reason], *place = strstr(phrase, "%s");
    if (place)
        snprintf(text, TREE_REASON_BYTES, "%.*s%s%s", (int)(place - phrase), phrase, name,
                 place + 2);
    else
        snprintf(text, TREE_REASON_BYTES, "%s", phrase);
}
