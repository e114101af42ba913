/* SPDX-License-Identifier: Apache-2.0
 *
 * See delete-run.h.
 */
#include "service/delete-run.h"

#include "base/log.h"
#include "service/context.h"
#include "service/events.h"
#include "service/group-trees.h"
#include "service/job-control.h"
#include "service/job-work.h"
#include "service/json.h"
#include "service/merges.h"
#include "service/snapshot-groups.h"
#include "service/unsettled.h"

#include <assert.h>
#include <string.h>

enum { CUT_TRIES = 300, CUT_WAIT_MS = 100 }; /* while a device is being detached */

/* ---- files that somebody removed ---- */

static int tree_forget_gone(void *context, const struct tree *tree, struct err *err)
{
    return tree_forget(context, tree, err);
}

static int delete_forget(struct service *service, const struct group_row *group,
                         struct roots *roots, struct err *err)
{
    const struct tree_visit visit = {service, group, roots, tree_forget_gone, service};
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

/* Not one that another group's job has left. */
static bool merge_is_own(const struct merge_row *merge, const struct job_row *job)
{
    return !merge->group_id || strcmp(merge->group_id, job->group_id) == 0;
}

/* Whether a merge for its group had that base. */
static bool job_had_base(const struct job_row *job, const char *path)
{
    for (size_t i = 0; i < job->merge_count; i++) {
        const struct merge_row *merge = &job->merges[i];
        if (merge_is_own(merge, job) && merge->base && strcmp(merge->base, path) == 0)
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
    int ret = 0;
    for (unsigned tries = 0; ret == 0; tries++) {
        CLEANUP_BY(group_row_clear) struct group_row row = {0};
        if (snapshot_groups_take(service, &request, NULL, &row, err) == 0)
            return 0;
        ret = job_control_await_use(service->job_control, tries, err);
    }
    return ret;
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

/* A device that is detached meanwhile is not cut: it is found until its row is gone. */
static int delete_cut(struct service *service, const struct group_row *group,
                      const struct job_row *job, struct err *err)
{
    for (int tries = 0;; tries++) {
        int ret = cut_try(service, group, job, err);
        if (ret >= 0 || err->code != ErrDeviceNotFound || tries == CUT_TRIES)
            return ret;
        if (job_control_sleep(service->job_control, CUT_WAIT_MS))
            return 1;
    }
}

/* ---- planning ---- */

struct planning {
    struct tree_plan steps;
    struct job_row *job;
    bool is_of_tops; /* live tops are to be merged */
    size_t count;
    struct merge_row *merges; /* heap; all texts but group_id are owned */
};

static void planning_clear(struct planning *planning)
{
    for (size_t i = 0; i < planning->count; i++) {
        free(planning->merges[i].device);
        free(planning->merges[i].base);
        free(planning->merges[i].upper);
    }
    free(planning->merges);
    cJSON_Delete(planning->steps.kept);
}

static int planning_add(struct planning *planning, const char *device, const char *base,
                        const char *upper, uint64_t copy_bytes, struct err *err)
{
    size_t count = planning->count + 1;
    struct merge_row *grown = realloc(planning->merges, count * sizeof(*grown));
    char *base_copy = base ? strdup(base) : NULL, *upper_copy = strdup(upper);
    char *device_copy = strdup(device);
    if (grown)
        planning->merges = grown;
    if (!grown || !device_copy || !upper_copy || (base && !base_copy)) {
        free(base_copy);
        free(upper_copy);
        free(device_copy);
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the job");
    }
    planning->merges[planning->count++] = (struct merge_row){.device = device_copy,
                                                             .base = base_copy,
                                                             .upper = upper_copy,
                                                             .stage = MERGE_PLANNED,
                                                             .group_id = planning->job->group_id,
                                                             .copy_bytes = copy_bytes};
    return 0;
}

/* What has taken the place of a member's image. */
static bool planning_is_silent(void *context, const char *image)
{
    const struct planning *planning = context;
    return job_had_base(planning->job, image);
}

/* Whether the push is of an image of the group: its base, or one that goes; all are of one that was
 * deleted before (delete_replan()). */
static bool step_is_own(const struct tree_step *step, const struct group_row *group)
{
    const struct tree *tree = step->tree;
    size_t i = step->upper;
    if (group->state == GROUP_DELETED)
        return true;
    while (i != step->base && !member_of(group, tree->rows[tree->images[i].backing].path))
        i = tree->images[i].backing;
    return i != step->base;
}

/* What other groups have left in the tree is done if there is room. */
static int planning_step(void *context, const struct tree_step *step, struct err *err)
{
    struct planning *planning = context;
    struct err none;
    if (step->base != TREE_NONE && !step_is_own(step, planning->steps.group) &&
        job_work_check_space(step->size.new_bytes, step->size.free_bytes, &none) != 0)
        return 0;
    const struct image_row *rows = step->tree->rows;
    planning->job->total_bytes += step->size.copy_bytes;
    return planning_add(planning, step->device,
                        step->base == TREE_NONE ? NULL : rows[step->base].path,
                        rows[step->upper].path, step->size.copy_bytes, err);
}

static int planning_tree(void *context, const struct tree *tree, struct err *err)
{
    const struct planning *planning = context;
    return tree_take_steps(&planning->steps, tree, err);
}

/* 1; 0: it may not be done now, and the image stays. */
static int planning_insert(struct planning *planning, struct merge_row *merge,
                           struct store_transaction *transaction, struct err *err)
{
    if (planning->is_of_tops)
        return store_merge_insert_collapse(transaction, planning->job->id, merge, err);
    int inserted = store_merge_insert(transaction, planning->job->id, merge, err);
    const char *image = merge->base ? merge->base : merge->upper;
    if (inserted == 0 && member_of(planning->steps.group, image))
        tree_plan_keep(
            &planning->steps, merge->device, image,
            "it was put to use meanwhile, or another job has begun with an image near it");
    return inserted;
}

/* In one transaction, which checks each merge again: *added are those that may still be done. */
static int planning_record(struct planning *planning, size_t *added, struct err *err)
{
    struct job_row row = *planning->job;
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(planning->steps.service->store, err);
    *added = 0;
    for (size_t i = 0; transaction && i < planning->count; i++) {
        int inserted = planning_insert(planning, &planning->merges[i], transaction, err);
        if (inserted < 0)
            return -1;
        *added += (size_t)inserted;
    }
    CLEANUP_FREE char *kept = cJSON_PrintUnformatted(planning->steps.kept);
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
    struct planning planning = {.steps = {.service = service,
                                          .group = group,
                                          .kept = cJSON_CreateArray(),
                                          .is_silent = planning_is_silent,
                                          .step = planning_step,
                                          .context = &planning},
                                .job = job};
    const struct tree_visit visit = {service, group, roots, planning_tree, &planning};
    return trees_visit(&visit, err) == 0 ? planning_record(&planning, added, err) : -1;
}

/* The image of a device that is being closed is in use for a moment more, and one that is being
 * made is not there yet, or is gone before its row. 0; 1: stopped; -1. */
static int delete_plan_wait(struct service *service, const struct group_row *group,
                            struct roots *roots, struct job_row *job, size_t *added,
                            struct err *err)
{
    const uint64_t total_bytes = job->total_bytes;
    int ret = 0;
    for (unsigned tries = 0;
         ret == 0 && delete_plan_next(service, group, roots, job, added, err) != 0; tries++) {
        job->total_bytes = total_bytes;
        ret = job_control_await_use(service->job_control, tries, err);
    }
    return ret;
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

/* Files that another group's job has left wait for the next job if they cannot be removed now: as a
 * rule their storage is away. */
static int merge_finish(struct service *service, struct job_row *job, struct merge_row *merge,
                        struct err *err)
{
    int ret = merge->stage == MERGE_DONE ? 0 : merges_carry_out(service, job, merge, err);
    if (ret >= 0 || merge_is_own(merge, job) || merge->stage != MERGE_REDIRECTED ||
        err_is_of_store(err))
        return ret;
    log_warning("what a delete of group %s has left stays: %s", merge->group_id, err->message);
    return 0;
}

static int merges_run(struct service *service, struct job_row *job, struct err *err)
{
    for (size_t i = 0; i < job->merge_count; i++) {
        int ret = merge_finish(service, job, &job->merges[i], err);
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

/* ---- live tops ---- */

static int planning_top(struct planning *planning, const struct tree *tree, size_t base,
                        struct err *err)
{
    struct merge_size size;
    const struct image_row *upper = &tree->rows[tree->images[base].child];
    if (!tree_looks_collapsible(planning->steps.service, tree, base, &size))
        return 0;
    planning->job->total_bytes += size.copy_bytes;
    return planning_add(planning, upper->device, tree->rows[base].path, upper->path,
                        size.copy_bytes, err);
}

static int planning_tops(void *context, const struct tree *tree, struct err *err)
{
    for (size_t i = 0; i < tree->count; i++)
        if (planning_top(context, tree, i, err) != 0)
            return -1;
    return 0;
}

/* The cut has left a live top on an image that nobody needs: a device that has no group any more is
 * one file again. */
static int delete_collapse(struct service *service, struct roots *roots, struct job_row *job,
                           struct err *err)
{
    size_t added = 0;
    CLEANUP_BY(group_row_clear) struct group_row group = {0};
    CLEANUP_BY(planning_clear)
    struct planning planning = {
        .steps = {.service = service, .group = &group}, .job = job, .is_of_tops = true};
    const struct tree_visit visit = {service, &group, roots, planning_tops, &planning};
    planning.steps.kept = cJSON_Parse(job->kept);
    if (store_group_get(service->store, job->group_id, &group, err) != 0)
        return -1;
    if (trees_visit(&visit, err) != 0)
        return unsettled_is_due(err) ? -1 : 0; /* the group is deleted all the same */
    if (planning.count == 0)
        return 0;
    if (planning_record(&planning, &added, err) != 0 || job_reload(service, job, err) != 0)
        return -1;
    return merges_run(service, job, err);
}

/* ---- all ---- */

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
    return ret ? ret : delete_collapse(service, &roots, job, err);
}
