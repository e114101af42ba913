/* SPDX-License-Identifier: Apache-2.0
 *
 * The trees of images in which the members of a group stand: what deleting the group is planned
 * with (deletes.c), and carried out (delete-run.c). The plan of a tree itself is in tree.h.
 */
#ifndef SERVICE_GROUP_TREES_H
#define SERVICE_GROUP_TREES_H

#include "service/image-looks.h"
#include "service/tree.h"
#include "store/groups.h"
#include "store/images.h"

struct cJSON;
struct service;

/* ---- a tree ---- */

struct tree {
    struct image_row *rows;
    size_t count;
    struct tree_image *images;
    struct image_look *looks; /* at their files */
};

void tree_clear(struct tree *tree);

/* The tree of that image, planned as if the group needed none of it. As images_look(), and
 * StoreFailed. */
int tree_load(struct service *service, const char *path, const char *group, struct tree *tree,
              struct err *err);

/* Images whose files somebody removed keep nothing under them any more; one that still has
 * something on it, or is the top of a device, stays as it is. StoreFailed, OutOfResources. */
int tree_forget(struct service *service, const struct tree *tree, struct err *err);

/* ---- the lowest images ---- */

/* The lowest images of the trees of a group's members, which stay when those of members go. */
struct roots {
    size_t count;
    char **paths; /* NULL: not known */
};

void roots_clear(struct roots *roots);

/* As the spec of a job has them: {"roots":[PATH or null, ...]}, one for each member; those that
 * were begun stay. */
int roots_begin(struct roots *roots, size_t count, const char *spec, struct err *err);

/* The spec of a new job of the group: those of the job before, of members whose images have gone by
 * it; else as the rows have them. Heap, or NULL and *err. */
char *roots_spec(struct service *service, const struct group_row *group, struct err *err);

/* ---- all trees of a group ---- */

/* What is done with the tree of a group's members. */
struct tree_visit {
    struct service *service;
    const struct group_row *group;
    struct roots *roots; /* by which a tree is found whose member's image has gone; or NULL */
    int (*each)(void *context, const struct tree *tree, struct err *err);
    void *context;
};

/* Each tree once, in the order of their first members. What `each` gives, if it is not 0. */
int trees_visit(const struct tree_visit *visit, struct err *err);

/* The group's member that has the image; NULL: none. */
const struct member_row *member_of(const struct group_row *group, const char *image);

/* ---- what deleting the group does with a tree ---- */

/* A step, of an image, or of the run from `base` to `upper`. */
struct tree_step {
    const struct tree *tree;
    const char *device;     /* a member whose image it is; else the group's first */
    size_t base, upper;     /* base: TREE_NONE: upper goes without a push */
    struct merge_size size; /* of the push */
};

struct tree_plan {
    struct service *service;
    const struct group_row *group;
    bool has_cuts;      /* yet to come: what will be pushed after them counts */
    struct cJSON *kept; /* array of {"device","image","because"}: the group's images that stay */
    /* Whether an image that stays is not to be told of; or NULL. */
    bool (*is_silent)(void *context, const char *image);
    int (*step)(void *context, const struct tree_step *step, struct err *err);
    void *context;
};

/* Makes the steps, from the leaves down: what goes is no child of what comes next. What a step
 * gives, if it is not 0; as push_look(). */
int tree_take_steps(const struct tree_plan *plan, const struct tree *tree, struct err *err);

/* Whether an image that nobody needs takes the live top on it: that is made, there is room, and it
 * is not too much; as a rule the device was just cut, and it is small. *size: of that push. The
 * image of a clone keeps its name: the store sees to that. */
bool tree_looks_collapsible(struct service *service, const struct tree *tree, size_t base,
                            struct merge_size *size);

/* An image of the group stays. */
void tree_plan_keep(const struct tree_plan *plan, const char *device, const char *image,
                    const char *because);

#endif
