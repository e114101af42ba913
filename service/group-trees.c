/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-trees.h.
 */
#include "service/group-trees.h"

#include "base/log.h"
#include "service/context.h"
#include "service/job-work.h"
#include "service/json.h"
#include "store/jobs.h"

#include <string.h>

enum { COLLAPSE_BYTES_MAX = 1 << 30 }; /* of a live top: each write is made twice meanwhile */

/* ---- a tree ---- */

void tree_clear(struct tree *tree)
{
    image_rows_free(tree->rows, tree->count);
    free(tree->images);
    free(tree->looks);
}

static size_t tree_find(const struct tree *tree, const char *path)
{
    for (size_t i = 0; i < tree->count; i++)
        if (strcmp(tree->rows[i].path, path) == 0)
            return i;
    return TREE_NONE;
}

/* An image whose file is gone is no child of the one under it, unless a device has it as top, which
 * still needs what is under it once the file is put back. */
static void tree_mark_gone(struct tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        if (tree->rows[i].device || !tree->looks[i].is_gone)
            continue;
        tree->images[i].is_gone = true;
        free(steal(tree->rows[i].backing));
    }
}

/* An overlay that the daemon does not know of may stand on an image that would go. 1: some are in
 * use, which changes the plan; 0; -1. */
static int tree_mark_used(struct service *service, struct tree *tree, struct err *err)
{
    int is_any = 0;
    for (size_t i = 0; i < tree->count; i++)
        tree->looks[i].asks_use = tree->images[i].fate == TREE_GOES && !tree->images[i].is_gone;
    if (images_look_used(service, tree->rows, tree->count, tree->looks, err) != 0)
        return -1;
    for (size_t i = 0; i < tree->count; i++) {
        tree->images[i].is_used = tree->looks[i].is_used;
        is_any |= tree->looks[i].is_used;
    }
    return is_any;
}

int tree_load(struct service *service, const char *path, const char *group, struct tree *tree,
              struct err *err)
{
    if (store_image_tree(service->store, path, &tree->rows, &tree->count, err) != 0)
        return -1;
    tree->images = tree_from_rows(tree->rows, tree->count, err);
    if (!tree->images)
        return -1;
    tree->looks = calloc(tree->count + 1, sizeof(*tree->looks));
    if (!tree->looks)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the trees");
    if (images_look(service, tree->rows, tree->count, tree->looks, err) != 0)
        return -1;
    for (size_t i = 0; i < tree->count; i++)
        if (tree->rows[i].group_name && strcmp(tree->rows[i].group_name, group) == 0)
            tree->images[i].is_member = false;
    tree_mark_gone(tree);
    tree_plan(tree->images, tree->count);
    int used = tree_mark_used(service, tree, err);
    if (used > 0)
        tree_plan(tree->images, tree->count);
    return used < 0 ? -1 : 0;
}

/* ---- files that somebody removed ---- */

static bool tree_has_child(const struct tree *tree, size_t i, const bool *forgotten)
{
    for (size_t j = i + 1; j < tree->count; j++)
        if (tree->images[j].backing == i && !forgotten[j])
            return true;
    return false;
}

/* From the leaves down. */
int tree_forget(struct service *service, const struct tree *tree, struct err *err)
{
    CLEANUP_FREE bool *forgotten = calloc(tree->count + 1, sizeof(*forgotten));
    CLEANUP(store_transaction) struct store_transaction *transaction = NULL;
    if (!forgotten)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the trees");
    for (size_t i = tree->count; i-- > 0;) {
        if (!tree->images[i].is_gone || tree_has_child(tree, i, forgotten))
            continue;
        if (!transaction && !(transaction = store_begin(service->store, err)))
            return -1;
        if (store_image_forget(transaction, tree->rows[i].path, err) != 0)
            return -1;
        forgotten[i] = true;
        log_info("image '%s' is gone, and keeps nothing under it", tree->rows[i].path);
    }
    return transaction ? store_commit(steal(transaction), err) : 0;
}

/* ---- the lowest images ---- */

void roots_clear(struct roots *roots)
{
    for (size_t i = 0; i < roots->count; i++)
        free(roots->paths[i]);
    free(roots->paths);
}

static int roots_set(struct roots *roots, size_t member, const char *path, struct err *err)
{
    char *copy = strdup(path);
    if (!copy)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the trees");
    free(roots->paths[member]);
    roots->paths[member] = copy;
    return 0;
}

int roots_begin(struct roots *roots, size_t count, const char *spec, struct err *err)
{
    if (roots->paths)
        return 0;
    CLEANUP(cjson) cJSON *json = cJSON_Parse(spec);
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "roots");
    roots->paths = calloc(count + 1, sizeof(*roots->paths));
    if (!roots->paths)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the trees");
    roots->count = count;
    for (size_t i = 0; i < count; i++) {
        const char *path = cJSON_GetStringValue(cJSON_GetArrayItem(list, (int)i));
        if (path && roots_set(roots, i, path, err) != 0)
            return -1;
    }
    return 0;
}

static char *roots_print(const struct roots *roots)
{
    CLEANUP(cjson) cJSON *spec = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(spec, "roots");
    for (size_t i = 0; i < roots->count; i++)
        cJSON_AddItemToArray(list, roots->paths[i] ? cJSON_CreateString(roots->paths[i])
                                                   : cJSON_CreateNull());
    return cJSON_PrintUnformatted(spec);
}

/* Those of the job before, of members whose images have gone by it; else as the rows have them. */
static int roots_find(struct service *service, const struct group_row *group, struct roots *roots,
                      struct err *err)
{
    CLEANUP_BY(job_row_clear) struct job_row before = {0};
    int found = store_job_get_of_group(service->store, group->id, &before, err);
    if (found < 0 ||
        roots_begin(roots, group->member_count, found > 0 ? before.spec : "{}", err) != 0)
        return -1;
    for (size_t i = 0; i < group->member_count; i++) {
        struct image_row *rows;
        size_t count;
        const char *image = group->members[i].backing_image;
        if (!image)
            continue;
        if (store_image_chain(service->store, image, &rows, &count, err) != 0)
            return -1;
        int ret = count > 0 ? roots_set(roots, i, rows[count - 1].path, err) : 0;
        image_rows_free(rows, count);
        if (ret != 0)
            return -1;
    }
    return 0;
}

char *roots_spec(struct service *service, const struct group_row *group, struct err *err)
{
    CLEANUP_BY(roots_clear) struct roots roots = {0};
    if (roots_find(service, group, &roots, err) != 0)
        return NULL;
    char *spec = roots_print(&roots);
    if (!spec)
        err_set(err, ErrOutOfResources, 0, "there is no memory for the job");
    return spec;
}

/* ---- all trees of a group ---- */

/* Marks the members whose images are in the tree. */
static void tree_mark(const struct tree *tree, const struct group_row *group, bool *seen)
{
    for (size_t i = 0; i < group->member_count; i++)
        if (group->members[i].backing_image &&
            tree_find(tree, group->members[i].backing_image) != TREE_NONE)
            seen[i] = true;
}

/* An image of the tree of a member, or NULL. */
static const char *tree_place(const struct tree_visit *visit, size_t member)
{
    const char *image = visit->group->members[member].backing_image;
    return image || !visit->roots ? image : visit->roots->paths[member];
}

static int root_note(const struct tree_visit *visit, size_t member, const struct tree *tree,
                     struct err *err)
{
    if (!visit->roots || tree->count == 0 || visit->roots->paths[member])
        return 0;
    return roots_set(visit->roots, member, tree->rows[0].path, err);
}

int trees_visit(const struct tree_visit *visit, struct err *err)
{
    const struct group_row *group = visit->group;
    CLEANUP_FREE bool *seen = calloc(group->member_count + 1, sizeof(*seen));
    int ret = seen ? 0 : err_set(err, ErrOutOfResources, 0, "there is no memory for the trees");
    for (size_t i = 0; i < group->member_count && ret == 0; i++) {
        CLEANUP_BY(tree_clear) struct tree tree = {0};
        const char *place = tree_place(visit, i);
        if (!place || seen[i])
            continue;
        ret = tree_load(visit->service, place, group->name, &tree, err);
        if (ret == 0)
            ret = root_note(visit, i, &tree, err);
        if (ret == 0) {
            tree_mark(&tree, group, seen);
            ret = visit->each(visit->context, &tree, err);
        }
    }
    return ret;
}

const struct member_row *member_of(const struct group_row *group, const char *image)
{
    for (size_t i = 0; i < group->member_count; i++)
        if (group->members[i].backing_image && strcmp(group->members[i].backing_image, image) == 0)
            return &group->members[i];
    return NULL;
}

/* ---- what deleting the group does with a tree ---- */

void tree_plan_keep(const struct tree_plan *plan, const char *device, const char *image,
                    const char *because)
{
    if (plan->is_silent && plan->is_silent(plan->context, image))
        return;
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "device", device);
    cJSON_AddStringToObject(item, "image", image);
    cJSON_AddStringToObject(item, "because", because);
    cJSON_AddItemToArray(plan->kept, item);
}

/* The lowest image of the run, from step->base up, that can take what is above it. 0; 1: there is
 * none, and *err says why it is not the first; -1: *err. */
static int push_find(const struct tree_plan *plan, struct tree_step *step, struct err *err)
{
    struct err other, *why = err;
    const struct tree *tree = step->tree;
    for (size_t at = step->base; at != step->upper; at = tree->images[at].child, why = &other) {
        if (push_look(plan->service, tree->rows, tree->count, &tree->rows[at],
                      &tree->rows[step->upper], &step->size, why) == 0) {
            step->base = at;
            return 0;
        }
        if (why->code != ErrInvalidValue) {
            *err = *why;
            return -1;
        }
    }
    return 1;
}

/* An image that can take nothing stays. */
static int push_step(const struct tree_plan *plan, struct tree_step *step, struct err *err)
{
    const char *lowest = step->tree->rows[step->base].path;
    int ret = push_find(plan, step, err);
    if (ret < 0)
        return -1;
    if (ret > 0 && member_of(plan->group, lowest))
        tree_plan_keep(plan, step->device, lowest, err->message);
    return ret > 0 ? 0 : plan->step(plan->context, step, err);
}

static int image_step(const struct tree_plan *plan, const struct tree *tree, size_t i,
                      struct err *err)
{
    const struct tree_image *image = &tree->images[i];
    const struct member_row *member = member_of(plan->group, tree->rows[i].path);
    struct tree_step step = {.tree = tree,
                             .device = member ? member->device : plan->group->members[0].device,
                             .base = i,
                             .upper = image->partner};
    bool is_cut_first = image->fate == TREE_STAYS && image->reason == TREE_UNDER_TOP && member;
    char because[TREE_REASON_BYTES];
    if (image->fate == TREE_GOES) {
        step.base = TREE_NONE;
        step.upper = i;
        return plan->step(plan->context, &step, err);
    }
    if (is_cut_first)
        step.upper = image->child;
    if (image->fate == TREE_BASE || (is_cut_first && plan->has_cuts))
        return push_step(plan, &step, err);
    if (image->fate == TREE_STAYS && member && !is_cut_first) {
        tree_explain(tree->images, tree->rows, i, because);
        tree_plan_keep(plan, step.device, tree->rows[i].path, because);
    }
    return 0;
}

int tree_take_steps(const struct tree_plan *plan, const struct tree *tree, struct err *err)
{
    for (size_t i = tree->count; i-- > 0;)
        if (image_step(plan, tree, i, err) != 0)
            return -1;
    return 0;
}

bool tree_looks_collapsible(struct service *service, const struct tree *tree, size_t base,
                            struct merge_size *size)
{
    struct err none;
    const struct tree_image *image = &tree->images[base];
    if (image->fate != TREE_STAYS || image->reason != TREE_UNDER_TOP ||
        tree->rows[image->child].role != IMAGE_MADE)
        return false;
    return push_look(service, tree->rows, tree->count, &tree->rows[base], &tree->rows[image->child],
                     size, &none) == 0 &&
           size->copy_bytes <= COLLAPSE_BYTES_MAX &&
           job_work_check_space(size->new_bytes, size->free_bytes, &none) == 0;
}
