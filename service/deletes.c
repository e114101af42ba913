/* SPDX-License-Identifier: Apache-2.0
 *
 * See deletes.h.
 */
#include "service/deletes.h"

#include "base/log.h"
#include "service/clock.h"
#include "service/context.h"
#include "service/group-record.h"
#include "service/job-control.h"
#include "service/merges.h"
#include "service/names.h"
#include "service/snapshot-groups.h"
#include "service/tree.h"
#include "store/images.h"

#include <assert.h>
#include <cjson/cJSON.h>
#include <string.h>
#include <sys/stat.h>

enum {
    CUT_TRIES = 300, /* while another group has the device, or one was detached */
    CUT_WAIT_MS = 100,
    PLAN_TRIES = 250,
    PLAN_WAIT_MS = 20,
};

CLEANUP_DEFINE(cjson, cJSON *, cJSON_Delete)

/* ---- trees ---- */

struct tree {
    struct image_row *rows;
    size_t count;
    struct tree_image *images;
};

static void tree_clear(struct tree *tree)
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

/* The tree of that image, planned as if the group needed none of it. */
static int tree_load(struct service *service, const char *path, const char *group,
                     struct tree *tree, struct err *err)
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
    return 0;
}

/* The lowest images of the trees of a group's members, which stay when those of members go. */
struct roots {
    size_t count;
    char **paths; /* NULL: not known */
};

static void roots_clear(struct roots *roots)
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

/* As the spec of a job has them: {"roots":[PATH or null, ...]}, one for each member. */
static int roots_begin(struct roots *roots, size_t count, const char *spec, struct err *err)
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

/* Heap, or NULL. */
static char *roots_print(const struct roots *roots)
{
    CLEANUP(cjson) cJSON *spec = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(spec, "roots");
    for (size_t i = 0; i < roots->count; i++)
        cJSON_AddItemToArray(list, roots->paths[i] ? cJSON_CreateString(roots->paths[i])
                                                   : cJSON_CreateNull());
    return cJSON_PrintUnformatted(spec);
}

/* What is done with the tree of a group's members. */
struct tree_visit {
    struct service *service;
    const struct group_row *group;
    struct roots *roots; /* by which a tree is found whose member's image has gone; or NULL */
    int (*each)(void *context, const struct tree *tree, struct err *err);
    void *context;
};

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

/* Each tree once, in the order of their first members. */
static int trees_visit(const struct tree_visit *visit, struct err *err)
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

/* The group's member that has the image; NULL: none. */
static const struct member_row *member_of(const struct group_row *group, const char *image)
{
    for (size_t i = 0; i < group->member_count; i++)
        if (group->members[i].backing_image && strcmp(group->members[i].backing_image, image) == 0)
            return &group->members[i];
    return NULL;
}

static void kept_add(cJSON *kept, const char *device, const char *image, const char *because)
{
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "device", device);
    cJSON_AddStringToObject(item, "image", image);
    cJSON_AddStringToObject(item, "because", because);
    cJSON_AddItemToArray(kept, item);
}

/* ---- the dry run ---- */

struct estimate {
    struct service *service;
    const struct group_row *group;
    struct delete_plan *plan;
    cJSON *kept;
};

static uint64_t file_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* The lowest image of a run, from *base up, that can take what is above it. 0; 1: there is none,
 * and *err says why it is not *base; -1: *err. */
static int push_find(struct service *service, const struct tree *tree, size_t *base, size_t upper,
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

/* 0, also if it cannot be done: then the image stays. */
static int estimate_push(struct estimate *estimate, const struct tree *tree, size_t base,
                         size_t upper, struct err *err)
{
    struct merge_size size;
    const struct image_row *lower = &tree->rows[base];
    const struct member_row *member = member_of(estimate->group, lower->path);
    int ret = push_find(estimate->service, tree, &base, upper, &size, err);
    if (ret > 0 && member)
        kept_add(estimate->kept, member->device, lower->path, err->message);
    if (ret != 0)
        return ret < 0 ? -1 : 0;
    estimate->plan->copy_bytes += size.copy_bytes;
    if (size.free_bytes < estimate->plan->free_bytes)
        estimate->plan->free_bytes = size.free_bytes;
    for (size_t i = upper; i != base; i = tree->images[i].backing)
        estimate->plan->freed_bytes += file_bytes(tree->rows[i].path);
    return 0;
}

static int estimate_image(struct estimate *estimate, const struct tree *tree, size_t i,
                          struct err *err)
{
    const struct tree_image *image = &tree->images[i];
    const struct member_row *member = member_of(estimate->group, tree->rows[i].path);
    char because[TREE_REASON_BYTES];
    switch (image->fate) {
    case TREE_GOES:
        estimate->plan->freed_bytes += file_bytes(tree->rows[i].path);
        return 0;
    case TREE_BASE:
        return estimate_push(estimate, tree, i, image->partner, err);
    case TREE_PUSHED:
        return 0;
    case TREE_STAYS:
        break;
    }
    if (!member)
        return 0;
    if (image->reason == TREE_UNDER_TOP) /* which is cut first */
        return estimate_push(estimate, tree, i, image->child, err);
    tree_explain(tree->images, tree->rows, i, because);
    kept_add(estimate->kept, member->device, tree->rows[i].path, because);
    return 0;
}

static int estimate_tree(void *context, const struct tree *tree, struct err *err)
{
    for (size_t i = 0; i < tree->count; i++)
        if (estimate_image(context, tree, i, err) != 0)
            return -1;
    return 0;
}

/* GroupNotFound, DeviceInUse. */
static int group_check(const struct group_row *group, struct err *err)
{
    switch (group->state) {
    case GROUP_COMMITTED:
    case GROUP_DELETING:
        return group->kind == GROUP_KIND_CUT
                   ? err_set(err, ErrGroupNotFound, 0, "group '%s' only cuts, for a job", group->id)
                   : 0;
    case GROUP_PREPARING:
    case GROUP_COMMITTING:
        err_set(err, ErrDeviceInUse, 0, "snapshot group '%s' is not finished", group->name);
        return err_add_holder(err, "group", group->id);
    default:
        return err_set(err, ErrGroupNotFound, 0, "snapshot group '%s' was %s", group->id,
                       group->state == GROUP_DELETED ? "deleted" : "aborted");
    }
}

/* DeviceInUse. */
static int group_check_copies(struct service *service, const struct group_row *group,
                              struct err *err)
{
    CLEANUP_BY(job_row_clear) struct job_row job = {0};
    int found = store_job_get_copy(service->store, group->id, &job, err);
    if (found <= 0)
        return found;
    err_set(err, ErrDeviceInUse, 0, "'%s@%s' is being copied: job '%s' is %s", job.device,
            group->name, job.id, job_state_name(job.state));
    return err_add_holder(err, "job", job.id);
}

/* The group, if it may be deleted as far as its row says. */
static int group_get(struct service *service, const char *id_or_name,
                     const struct condition *condition, struct group_row *group, struct err *err)
{
    if (snapshot_groups_get(service, id_or_name, group, err) != 0 ||
        condition_check(condition, group->id, group->revision, err) != 0 ||
        group_check(group, err) != 0)
        return -1;
    if (group->holds)
        return err_set(err, ErrGroupHeld, 0, "snapshot group '%s' is held by %s", group->name,
                       group->holds);
    return group_check_copies(service, group, err);
}

static int members_check_unused(struct service *service, const struct group_row *group,
                                struct err *err)
{
    for (size_t i = 0; i < group->member_count; i++)
        if (block_frozen_check_unused(service->block, group->members[i].device, group->id, err) !=
            0)
            return -1;
    return 0;
}

int delete_plan(struct service *service, const char *id_or_name, const struct condition *condition,
                struct delete_plan *plan, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row group = {0};
    CLEANUP(cjson) cJSON *kept = cJSON_CreateArray();
    struct estimate estimate = {service, &group, plan, kept};
    const struct tree_visit visit = {service, &group, NULL, estimate_tree, &estimate};
    *plan = (struct delete_plan){.free_bytes = UINT64_MAX};
    if (group_get(service, id_or_name, condition, &group, err) != 0 ||
        members_check_unused(service, &group, err) != 0 || trees_visit(&visit, err) != 0)
        return -1;
    plan->kept = cJSON_PrintUnformatted(kept);
    return plan->kept ? 0 : err_set(err, ErrOutOfResources, 0, "there is no memory for the plan");
}

/* ---- beginning ---- */

static void members_offer(struct service *service, const struct group_row *group, size_t count)
{
    for (size_t i = 0; i < count; i++)
        group_offer_member(service, group, i);
}

/* Exports of its members go; where that fails all are there as before. */
static int members_withdraw(struct service *service, const struct group_row *group, struct err *err)
{
    for (size_t i = 0; i < group->member_count; i++)
        if (block_frozen_withdraw(service->block, group->members[i].device, group->id, err) != 0) {
            members_offer(service, group, i);
            return -1;
        }
    return 0;
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

static int job_insert(struct store_transaction *transaction, const struct origin *origin,
                      const struct group_row *group, char *spec, struct job_row *job,
                      struct err *err)
{
    static char none[] = "[]";
    struct job_row row = {.kind = JOB_DELETE,
                          .group_id = (char *)group->id,
                          .spec = spec,
                          .kept = none,
                          .created_at_us = clock_now_us()};
    id_new(row.id);
    memcpy(job->id, row.id, sizeof(job->id));
    if (store_job_insert(transaction, &row, err) != 0 ||
        store_merge_adopt(transaction, row.id, group->id, err) < 0)
        return -1;
    return event_record_job(transaction, origin, EVENT_JOB_QUEUED, row.id, group->id, err);
}

/* 1; 0: the group was changed meanwhile; -1. */
static int delete_record(struct service *service, const struct group_row *group,
                         const struct origin *origin, struct job_row *job, struct err *err)
{
    CLEANUP_BY(roots_clear) struct roots roots = {0};
    if (roots_find(service, group, &roots, err) != 0)
        return -1;
    CLEANUP_FREE char *spec = roots_print(&roots);
    if (!spec)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the job");
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    int changed = transaction ? store_group_update_deleting(transaction, group, err) : -1;
    if (changed <= 0)
        return changed;
    if (job_insert(transaction, origin, group, spec, job, err) != 0)
        return -1;
    return store_commit(steal(transaction), err) == 0 ? 1 : -1;
}

/* 1: *job is one that has not finished; 0: there is none. */
static int job_find_unfinished(struct service *service, const struct group_row *group,
                               struct job_row *job, struct err *err)
{
    int found = store_job_get_of_group(service->store, group->id, job, err);
    if (found <= 0 || !job_state_is_finished(job->state))
        return found;
    job_row_clear(job);
    *job = (struct job_row){0};
    return 0;
}

/* 1: begun; 0: the group was changed meanwhile; -1. */
static int delete_try(struct service *service, const char *id_or_name,
                      const struct condition *condition, const struct origin *origin,
                      struct job_row *job, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row group = {0};
    if (group_get(service, id_or_name, condition, &group, err) != 0)
        return -1;
    int found = group.state == GROUP_DELETING ? job_find_unfinished(service, &group, job, err) : 0;
    if (found != 0)
        return found;
    if (members_withdraw(service, &group, err) != 0)
        return -1;
    int begun = delete_record(service, &group, origin, job, err);
    if (begun <= 0) {
        members_offer(service, &group, group.member_count);
        return begun;
    }
    job_control_wake(service->job_control);
    return store_job_get(service->store, job->id, job, err) < 0 ? -1 : 1;
}

int delete_begin(struct service *service, const char *id_or_name, const struct condition *condition,
                 const struct origin *origin, struct job_row *job, struct err *err)
{
    int done = 0;
    *job = (struct job_row){0};
    while (done == 0)
        done = delete_try(service, id_or_name, condition, origin, job, err);
    return done > 0 ? 0 : -1;
}

/* ---- planning a tree again ---- */

/* Whether there is something to do in the tree: 1, and a deleted group by which it is done, as it
 * had an image there; 0; -1. */
static int replan_find(struct service *service, const struct tree *tree,
                       char group_id[STORE_ID_CHARS + 1], struct err *err)
{
    bool is_due = false, has_group = false;
    for (size_t i = 0; i < tree->count; i++) {
        const struct tree_image *image = &tree->images[i];
        bool is_surplus = image->fate == TREE_STAYS && image->reason == TREE_UNDER_TOP;
        is_due |= image->fate == TREE_GOES || image->fate == TREE_BASE;
        int found =
            has_group && !is_surplus
                ? 0
                : store_group_find_deleted(service->store, tree->rows[i].path, group_id, err);
        if (found < 0)
            return -1;
        has_group |= found > 0;
        if (found > 0 && is_surplus)
            return 1; /* the group's image is what is left to do */
    }
    return is_due && has_group;
}

int delete_replan(struct service *service, const char *image, const struct origin *origin,
                  struct err *err)
{
    char group_id[STORE_ID_CHARS + 1];
    struct job_row job = {0};
    CLEANUP_BY(tree_clear) struct tree tree = {0};
    CLEANUP_BY(group_row_clear) struct group_row group = {0};
    CLEANUP_BY(roots_clear) struct roots roots = {0};
    if (tree_load(service, image, "", &tree, err) != 0)
        return -1;
    int found = replan_find(service, &tree, group_id, err);
    if (found <= 0)
        return found;
    if (store_group_get(service->store, group_id, &group, err) != 0 ||
        roots_find(service, &group, &roots, err) != 0)
        return -1;
    CLEANUP_FREE char *spec = roots_print(&roots);
    if (!spec)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the job");
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || job_insert(transaction, origin, &group, spec, &job, err) != 0 ||
        store_commit(steal(transaction), err) != 0)
        return -1;
    job_control_wake(service->job_control);
    return 0;
}

/* ---- files that somebody removed ---- */

static bool tree_has_child(const struct tree *tree, size_t i, const bool *forgotten)
{
    for (size_t j = i + 1; j < tree->count; j++)
        if (tree->images[j].backing == i && !forgotten[j])
            return true;
    return false;
}

/* From the leaves down; what still has something on it stays. */
static int tree_forget(void *context, const struct tree *tree, struct err *err)
{
    struct service *service = context;
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

static int delete_forget(struct service *service, const struct group_row *group,
                         struct roots *roots, struct err *err)
{
    const struct tree_visit visit = {service, group, roots, tree_forget, service};
    return trees_visit(&visit, err);
}

/* ---- cutting ---- */

struct cuts {
    const struct group_row *group;
    const struct job_row *job;
    size_t count;
    struct group_member *members; /* room for one of each of the group's */
    char **devices;               /* their names, owned */
};

/* Whether a merge for its group had that base; not one that another group's job has left. */
static bool job_had_base(const struct job_row *job, const char *path)
{
    for (size_t i = 0; i < job->merge_count; i++) {
        const struct merge_row *merge = &job->merges[i];
        bool is_own = !merge->group_id || strcmp(merge->group_id, job->group_id) == 0;
        if (is_own && merge->base && strcmp(merge->base, path) == 0)
            return true;
    }
    return false;
}

/* The devices whose tops stand on images of the group; not those that this job has cut before. */
static int cuts_find(void *context, const struct tree *tree, struct err *err)
{
    struct cuts *cuts = context;
    for (size_t i = 0; i < tree->count; i++) {
        const struct tree_image *image = &tree->images[i];
        if (image->fate != TREE_STAYS || image->reason != TREE_UNDER_TOP ||
            !member_of(cuts->group, tree->rows[i].path) ||
            job_had_base(cuts->job, tree->rows[i].path))
            continue;
        assert(cuts->count < cuts->group->member_count);
        char *device = strdup(tree->rows[image->child].device);
        if (!device)
            return err_set(err, ErrOutOfResources, 0, "there is no memory for the job");
        cuts->devices[cuts->count] = device;
        cuts->members[cuts->count++].device = device;
    }
    return 0;
}

/* 0; 1: stopped; -1. */
static int cut_take(struct service *service, const struct cuts *cuts, struct err *err)
{
    const struct snapshot_group_request request = {.is_cut = true,
                                                   .labels = "{}",
                                                   .origin = &origin_daemon,
                                                   .count = cuts->count,
                                                   .members = cuts->members};
    for (int tries = 0;; tries++) {
        CLEANUP_BY(group_row_clear) struct group_row row = {0};
        if (snapshot_groups_take(service, &request, NULL, &row, err) == 0)
            return 0;
        if (err->code != ErrDeviceInUse || tries == CUT_TRIES)
            return -1;
        if (job_control_sleep(service->job_control, CUT_WAIT_MS))
            return 1;
    }
}

static int cut_try(struct service *service, const struct group_row *group,
                   const struct job_row *job, struct err *err)
{
    CLEANUP_FREE struct group_member *members = calloc(group->member_count + 1, sizeof(*members));
    CLEANUP_FREE char **devices = calloc(group->member_count + 1, sizeof(*devices));
    if (!members || !devices)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the job");
    struct cuts cuts = {.group = group, .job = job, .members = members, .devices = devices};
    const struct tree_visit visit = {service, group, NULL, cuts_find, &cuts};
    int ret = trees_visit(&visit, err);
    if (ret == 0 && cuts.count > 0)
        ret = cut_take(service, &cuts, err);
    for (size_t i = 0; i < cuts.count; i++)
        free(devices[i]);
    return ret;
}

/* A device that was detached meanwhile is not cut. */
static int delete_cut(struct service *service, const struct group_row *group,
                      const struct job_row *job, struct err *err)
{
    int ret, tries = 0;
    do
        ret = cut_try(service, group, job, err);
    while (ret < 0 && err->code == ErrDeviceNotFound && tries++ < CUT_TRIES);
    return ret;
}

/* ---- planning ---- */

struct planning {
    struct service *service;
    const struct group_row *group;
    struct job_row *job;
    cJSON *kept;
    size_t count;
    struct merge_row *merges; /* heap; `base` and `upper` are owned */
};

static void planning_clear(struct planning *planning)
{
    for (size_t i = 0; i < planning->count; i++) {
        free(planning->merges[i].base);
        free(planning->merges[i].upper);
    }
    free(planning->merges);
    cJSON_Delete(planning->kept);
}

static int planning_add(struct planning *planning, const char *device, const char *base,
                        const char *upper, uint64_t copy_bytes, struct err *err)
{
    size_t count = planning->count + 1;
    struct merge_row *grown = realloc(planning->merges, count * sizeof(*grown));
    char *base_copy = base ? strdup(base) : NULL, *upper_copy = strdup(upper);
    if (grown)
        planning->merges = grown;
    if (!grown || !upper_copy || (base && !base_copy)) {
        free(base_copy);
        free(upper_copy);
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the job");
    }
    planning->merges[planning->count++] = (struct merge_row){.device = (char *)device,
                                                             .base = base_copy,
                                                             .upper = upper_copy,
                                                             .stage = MERGE_PLANNED,
                                                             .group_id = planning->job->group_id,
                                                             .copy_bytes = copy_bytes};
    return 0;
}

/* The image stays; not to be told of what has taken the place of a member's image. */
static void planning_keep(struct planning *planning, const char *device, const char *image,
                          const char *because)
{
    if (!job_had_base(planning->job, image))
        kept_add(planning->kept, device, image, because);
}

static int planning_push(struct planning *planning, const struct tree *tree, size_t base,
                         const char *device, struct err *err)
{
    struct merge_size size;
    const char *lowest = tree->rows[base].path;
    const size_t upper = tree->images[base].partner;
    int ret = push_find(planning->service, tree, &base, upper, &size, err);
    if (ret > 0)
        planning_keep(planning, device, lowest, err->message);
    if (ret != 0)
        return ret < 0 ? -1 : 0;
    planning->job->total_bytes += size.copy_bytes;
    return planning_add(planning, device, tree->rows[base].path, tree->rows[upper].path,
                        size.copy_bytes, err);
}

static int planning_image(struct planning *planning, const struct tree *tree, size_t i,
                          struct err *err)
{
    const struct tree_image *image = &tree->images[i];
    const struct member_row *member = member_of(planning->group, tree->rows[i].path);
    const char *device = member ? member->device : planning->group->members[0].device;
    char because[TREE_REASON_BYTES];
    if (image->fate == TREE_GOES)
        return planning_add(planning, device, NULL, tree->rows[i].path, 0, err);
    if (image->fate == TREE_BASE)
        return planning_push(planning, tree, i, device, err);
    if (image->fate == TREE_PUSHED || !member || image->reason == TREE_UNDER_TOP)
        return 0;
    tree_explain(tree->images, tree->rows, i, because);
    planning_keep(planning, device, tree->rows[i].path, because);
    return 0;
}

/* From the leaves down: what goes is no child of what is planned next. */
static int planning_tree(void *context, const struct tree *tree, struct err *err)
{
    for (size_t i = tree->count; i-- > 0;)
        if (planning_image(context, tree, i, err) != 0)
            return -1;
    return 0;
}

/* 1; 0: it may not be done now, and the image stays. */
static int planning_insert(struct planning *planning, struct merge_row *merge,
                           struct store_transaction *transaction, struct err *err)
{
    int inserted = store_merge_insert(transaction, planning->job->id, merge, err);
    const char *image = merge->base ? merge->base : merge->upper;
    if (inserted == 0 && member_of(planning->group, image))
        planning_keep(
            planning, merge->device, image,
            "it was put to use meanwhile, or another job has begun with an image near it");
    return inserted;
}

/* In one transaction, which checks each merge again: *added are those that may still be done. */
static int planning_record(struct planning *planning, size_t *added, struct err *err)
{
    struct job_row row = *planning->job;
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(planning->service->store, err);
    *added = 0;
    for (size_t i = 0; transaction && i < planning->count; i++) {
        int inserted = planning_insert(planning, &planning->merges[i], transaction, err);
        if (inserted < 0)
            return -1;
        *added += (size_t)inserted;
    }
    CLEANUP_FREE char *kept = cJSON_PrintUnformatted(planning->kept);
    row.kept = kept;
    if (!kept)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the job");
    if (!transaction || store_job_update_plan(transaction, &row, err) < 0)
        return -1;
    return store_commit(steal(transaction), err);
}

/* Records what is to be merged next. */
static int delete_plan_next(struct service *service, const struct group_row *group,
                            struct roots *roots, struct job_row *job, size_t *added,
                            struct err *err)
{
    CLEANUP_BY(planning_clear)
    struct planning planning = {service, group, job, cJSON_CreateArray(), 0, NULL};
    const struct tree_visit visit = {service, group, roots, planning_tree, &planning};
    return trees_visit(&visit, err) == 0 ? planning_record(&planning, added, err) : -1;
}

/* The image of a device that is being closed is in use for a moment more. 0; 1: stopped; -1. */
static int delete_plan_wait(struct service *service, const struct group_row *group,
                            struct roots *roots, struct job_row *job, size_t *added,
                            struct err *err)
{
    const uint64_t total_bytes = job->total_bytes;
    for (int tries = 0; delete_plan_next(service, group, roots, job, added, err) != 0; tries++) {
        if (err->code != ErrDeviceInUse || tries == PLAN_TRIES)
            return -1;
        job->total_bytes = total_bytes;
        if (job_control_sleep(service->job_control, PLAN_WAIT_MS))
            return 1;
    }
    return 0;
}

/* ---- running ---- */

static int job_reload(struct service *service, struct job_row *job, struct err *err)
{
    struct job_row now;
    int found = store_job_get(service->store, job->id, &now, err);
    if (found <= 0)
        return found < 0 ? -1 : err_set(err, ErrJobNotFound, 0, "job '%s' is gone", job->id);
    job_row_clear(job);
    *job = now;
    return 0;
}

static int merges_run(struct service *service, struct job_row *job, struct err *err)
{
    for (size_t i = 0; i < job->merge_count; i++) {
        int ret = job->merges[i].stage == MERGE_DONE
                      ? 0
                      : merges_carry_out(service, job, &job->merges[i], err);
        if (ret != 0)
            return ret;
        if (job_control_is_stopped(service->job_control))
            return 1;
    }
    return 0;
}

/* The group as it is now: its members' images change with each merge. */
static int delete_step(struct service *service, struct roots *roots, struct job_row *job,
                       size_t *added, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row group = {0};
    int ret = merges_run(service, job, err);
    if (ret != 0)
        return ret;
    if (store_group_get(service->store, job->group_id, &group, err) != 0 ||
        roots_begin(roots, group.member_count, job->spec, err) != 0)
        return -1;
    ret = delete_forget(service, &group, roots, err);
    if (ret == 0)
        ret = delete_cut(service, &group, job, err);
    if (ret == 0)
        ret = delete_plan_wait(service, &group, roots, job, added, err);
    return ret ? ret : job_reload(service, job, err);
}

/* What other jobs have left undone in the trees of the group comes first: nothing can be planned
 * near an image that is half written. */
static int unfinished_adopt(struct service *service, struct job_row *job, struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    int adopted = transaction ? store_merge_adopt(transaction, job->id, job->group_id, err) : -1;
    if (adopted <= 0)
        return adopted;
    return store_commit(steal(transaction), err) == 0 ? job_reload(service, job, err) : -1;
}

int deletes_run(struct service *service, struct job_row *job, struct err *err)
{
    CLEANUP_BY(roots_clear) struct roots roots = {0};
    size_t added;
    int ret;
    if (unfinished_adopt(service, job, err) != 0)
        return -1;
    do
        ret = delete_step(service, &roots, job, &added, err);
    while (ret == 0 && added > 0);
    return ret;
}
