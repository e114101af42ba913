/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-trees.h.
 */
#include "service/group-trees.h"

#include "block/overlay.h"
#include "service/context.h"
#include "service/json.h"
#include "store/jobs.h"

#include <string.h>

/* ---- a tree ---- */

void tree_clear(struct tree *tree)
{
    image_rows_free(tree->rows, tree->count);
    free(tree->images);
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
static void tree_mark_gone(struct service *service, struct tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        const struct image_row *row = &tree->rows[i];
        if (row->device || !row->identity ||
            !block_image_is_gone(service->block, row->path, row->identity))
            continue;
        tree->images[i].is_gone = true;
        free(steal(tree->rows[i].backing));
    }
}

/* An overlay that the daemon does not know of may stand on an image that would go. */
static bool tree_mark_used(struct service *service, struct tree *tree)
{
    bool is_any = false;
    for (size_t i = 0; i < tree->count; i++) {
        struct tree_image *image = &tree->images[i];
        image->is_used = image->fate == TREE_GOES && !image->is_gone &&
                         block_overlay_is_used(service->block, tree->rows[i].path);
        is_any |= image->is_used;
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
    for (size_t i = 0; i < tree->count; i++)
        if (tree->rows[i].group_name && strcmp(tree->rows[i].group_name, group) == 0)
            tree->images[i].is_member = false;
    tree_mark_gone(service, tree);
    tree_plan(tree->images, tree->count);
    if (tree_mark_used(service, tree))
        tree_plan(tree->images, tree->count);
    return 0;
}

int push_find(struct service *service, const struct tree *tree, size_t *base, size_t upper,
              struct merge_size *size, struct err *err)
{
    struct err other, *why = err;
    for (size_t at = *base; at != upper; at = tree->images[at].child, why = &other) {
        if (merges_check(service, tree->rows, tree->count, &tree->rows[at], &tree->rows[upper],
                         size, why) == 0) {
            *base = at;
            return 0;
        }
        if (why->code != ErrInvalidValue) {
            *err = *why;
            return -1;
        }
    }
    return 1;
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

void kept_add(struct cJSON *kept, const char *device, const char *image, const char *because)
{
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "device", device);
    cJSON_AddStringToObject(item, "image", image);
    cJSON_AddStringToObject(item, "because", because);
    cJSON_AddItemToArray(kept, item);
}
