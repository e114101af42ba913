/* SPDX-License-Identifier: Apache-2.0
 *
 * See deletes.h.
 */
#include "service/deletes.h"

#include "base/log.h"
#include "block/frozen.h"
#include "service/clock.h"
#include "service/context.h"
#include "service/group-record.h"
#include "service/group-trees.h"
#include "service/job-control.h"
#include "service/json.h"
#include "service/leftovers.h"
#include "service/names.h"
#include "service/snapshot-groups.h"
#include "service/unsettled.h"
#include "store/merges.h"

#include <stdlib.h>
#include <string.h>

enum { PLAN_TRIES = 50, PLAN_WAIT_MS = 20 }; /* of a dry run, while jobs change the images */

/* ---- the dry run ---- */

struct estimate {
    struct tree_plan steps;
    struct delete_plan *plan;
};

static int estimate_step(void *context, const struct tree_step *step, struct err *err)
{
    (void)err;
    struct delete_plan *plan = ((struct estimate *)context)->plan;
    const struct tree *tree = step->tree;
    if (step->base == TREE_NONE) {
        plan->freed_bytes += tree->looks[step->upper].file_bytes;
        return 0;
    }
    plan->copy_bytes += step->size.copy_bytes;
    if (step->size.free_bytes < plan->free_bytes)
        plan->free_bytes = step->size.free_bytes;
    for (size_t i = step->upper; i != step->base; i = tree->images[i].backing)
        plan->freed_bytes += tree->looks[i].file_bytes;
    return 0;
}

/* The live tops that will be merged. One that is cut before is there only then. */
static void estimate_tops(const struct estimate *estimate, const struct tree *tree)
{
    struct merge_size size;
    for (size_t i = 0; i < tree->count; i++) {
        if (member_of(estimate->steps.group, tree->rows[i].path) ||
            !tree_looks_collapsible(estimate->steps.service, tree, i, &size))
            continue;
        estimate->plan->copy_bytes += size.copy_bytes;
        estimate->plan->freed_bytes += tree->looks[tree->images[i].child].file_bytes;
        if (size.free_bytes < estimate->plan->free_bytes)
            estimate->plan->free_bytes = size.free_bytes;
    }
}

static int estimate_tree(void *context, const struct tree *tree, struct err *err)
{
    const struct estimate *estimate = context;
    if (tree_take_steps(&estimate->steps, tree, err) != 0)
        return -1;
    estimate_tops(estimate, tree);
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

static int plan_try(struct service *service, const char *id_or_name,
                    const struct condition *condition, struct delete_plan *plan, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row group = {0};
    CLEANUP(cjson) cJSON *kept = cJSON_CreateArray();
    struct estimate estimate = {.steps = {.service = service,
                                          .group = &group,
                                          .has_cuts = true,
                                          .kept = kept,
                                          .step = estimate_step,
                                          .context = &estimate},
                                .plan = plan};
    const struct tree_visit visit = {service, &group, NULL, estimate_tree, &estimate};
    *plan = (struct delete_plan){.free_bytes = UINT64_MAX};
    if (group_get(service, id_or_name, condition, &group, err) != 0 ||
        members_check_unused(service, &group, err) != 0 || trees_visit(&visit, err) != 0)
        return -1;
    plan->kept = cJSON_PrintUnformatted(kept);
    return plan->kept ? 0 : err_set(err, ErrOutOfResources, 0, "there is no memory for the plan");
}

/* Whether a job changed the images while they were looked at: chains have become shorter, and files
 * are gone. A moment before its merge is recorded that shows in a failure only. */
static bool plan_is_overtaken(struct service *service, uint64_t generation, int ret,
                              const struct err *err)
{
    char running[JOBS_BEGUN_MAX][STORE_ID_CHARS + 1];
    bool has_lost = ret != 0 && (err->code == ErrOpenFileFailed || err->code == ErrNotRelated);
    return store_merges_generation(service->store) != generation ||
           (has_lost && job_control_list(service->job_control, running) > 0);
}

int delete_plan(struct service *service, const char *id_or_name, const struct condition *condition,
                struct delete_plan *plan, struct err *err)
{
    for (int tries = 1;; tries++) {
        uint64_t generation = store_merges_generation(service->store);
        int ret = plan_try(service, id_or_name, condition, plan, err);
        if (tries == PLAN_TRIES || !plan_is_overtaken(service, generation, ret, err))
            return ret;
        free(steal(plan->kept));
        job_control_rest(service->job_control, PLAN_WAIT_MS);
    }
}

/* ---- beginning ---- */

/* The exports of the first `count` members. */
static void members_restore(struct service *service, const struct group_row *group, size_t count)
{
    for (size_t i = 0; i < count; i++)
        block_frozen_restore(service->block, group->members[i].device, group->id);
}

static void members_remove(struct service *service, const struct group_row *group)
{
    for (size_t i = 0; i < group->member_count; i++)
        block_frozen_remove(service->block, group->members[i].device, group->id);
}

/* Of all members, or, if that fails, of none. */
static int members_withdraw(struct service *service, const struct group_row *group, struct err *err)
{
    for (size_t i = 0; i < group->member_count; i++)
        if (block_frozen_withdraw(service->block, group->members[i].device, group->id, err) != 0) {
            members_restore(service, group, i);
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
    CLEANUP_FREE char *spec = roots_spec(service, group, err);
    if (!spec)
        return -1;
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

/* A group whose members are withdrawn, in case that nobody knows whether its job was recorded. */
struct delete_doubt {
    struct unsettled unsettled;
    struct group_row group;
};

static void delete_doubt_free(struct delete_doubt *doubt)
{
    group_row_clear(&doubt->group);
    free(doubt);
}
CLEANUP_DEFINE(delete_doubt, struct delete_doubt *, delete_doubt_free)

static void doubt_free_unsettled(struct unsettled *work)
{
    delete_doubt_free((struct delete_doubt *)work);
}

static int doubt_settle(struct service *service, struct unsettled *work, struct err *err)
{
    const struct group_row *group = &((struct delete_doubt *)work)->group;
    CLEANUP_BY(group_row_clear) struct group_row now = {.state = GROUP_DELETED};
    if (store_group_get(service->store, group->id, &now, err) != 0 && unsettled_is_due(err))
        return -1;
    if (now.state == GROUP_COMMITTED) {
        members_restore(service, group, group->member_count);
    } else {
        members_remove(service, group);
        job_control_wake(service->job_control);
    }
    return 0;
}

/* Records the job and forgets the exports; if it is not recorded they are there as before. `doubt`
 * is taken over. 1; 0: the group was changed meanwhile; -1. */
static int delete_make(struct service *service, struct delete_doubt *doubt,
                       const struct origin *origin, struct job_row *job, struct err *err)
{
    struct err later;
    CLEANUP(delete_doubt) struct delete_doubt *owned = doubt;
    const struct group_row *group = &doubt->group;
    if (members_withdraw(service, group, err) != 0)
        return -1;
    int begun = delete_record(service, group, origin, job, err);
    if (begun > 0)
        members_remove(service, group);
    else if (begun == 0 || err->code != ErrStoreFailed)
        members_restore(service, group, group->member_count);
    else if (leftovers_settle(service, &doubt->unsettled, &later) != 0)
        steal(owned); /* the queue has it */
    return begun;
}

/* 1: begun; 0: the group was changed meanwhile; -1. */
static int delete_try(struct service *service, const char *id_or_name,
                      const struct condition *condition, const struct origin *origin,
                      struct job_row *job, struct err *err)
{
    CLEANUP(delete_doubt) struct delete_doubt *doubt = calloc(1, sizeof(*doubt));
    if (!doubt)
        return err_set(err, ErrOutOfResources, 0, "there is no memory to delete a group");
    doubt->unsettled.settle = doubt_settle;
    doubt->unsettled.free = doubt_free_unsettled;
    struct group_row *group = &doubt->group;
    if (group_get(service, id_or_name, condition, group, err) != 0)
        return -1;
    int found = group->state == GROUP_DELETING ? job_find_unfinished(service, group, job, err) : 0;
    if (found != 0)
        return found;
    int begun = delete_make(service, steal(doubt), origin, job, err);
    if (begun <= 0)
        return begun;
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

/* The group by which there is something to do, a merge that was left first. 1; 0; -1. */
static int replan_look(struct service *service, const char *image,
                       char group_id[STORE_ID_CHARS + 1], struct err *err)
{
    CLEANUP_BY(tree_clear) struct tree tree = {0};
    int found = store_merge_find_left(service->store, image, group_id, err);
    if (found != 0)
        return found;
    return tree_load(service, image, "", &tree, err) == 0
               ? replan_find(service, &tree, group_id, err)
               : -1;
}

/* A new job for the group. */
static int replan_record(struct service *service, const char *image, const char *group_id,
                         const struct origin *origin, struct err *err)
{
    struct job_row job = {0};
    CLEANUP_BY(group_row_clear) struct group_row group = {0};
    if (store_group_get(service->store, group_id, &group, err) != 0)
        return -1;
    CLEANUP_FREE char *spec = roots_spec(service, &group, err);
    if (!spec)
        return -1;
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || job_insert(transaction, origin, &group, spec, &job, err) != 0 ||
        store_plan_done(transaction, image, err) != 0 || store_commit(steal(transaction), err) != 0)
        return -1;
    job_control_wake(service->job_control);
    return 0;
}

/* There is nothing to do. */
static int replan_record_none(struct service *service, const char *image, struct err *err)
{
    int is_due = store_plan_is_due(service->store, image, err);
    if (is_due <= 0)
        return is_due;
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    if (!transaction || store_plan_done(transaction, image, err) != 0)
        return -1;
    return store_commit(steal(transaction), err);
}

int delete_replan(struct service *service, const char *image, const struct origin *origin,
                  struct err *err)
{
    char group_id[STORE_ID_CHARS + 1];
    int found = replan_look(service, image, group_id, err);
    if (found < 0)
        return -1;
    return found ? replan_record(service, image, group_id, origin, err)
                 : replan_record_none(service, image, err);
}

static bool replan_retry(struct service *service, const struct leftover *leftover)
{
    struct err err;
    if (delete_replan(service, leftover->name, &origin_daemon, &err) == 0)
        return true;
    if (unsettled_is_due(&err))
        return false;
    log_warning("the tree of image '%s' is looked at with the next delete, or start: %s",
                leftover->name, err.message);
    return true;
}

void delete_replan_later(struct service *service, const char *image)
{
    char id[STORE_ID_CHARS + 1];
    id_new(id);
    leftovers_add(service, replan_retry, id, image, NULL);
}

int delete_replan_due(struct service *service, struct err *err)
{
    CLEANUP_FREE char *after = strdup("");
    if (!after)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for plans");
    for (;;) {
        char *image = NULL;
        int found = store_plan_next_due(service->store, after, &image, err);
        if (found <= 0)
            return found;
        free(after);
        after = image;
        delete_replan_later(service, image);
    }
}
