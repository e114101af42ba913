/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps of a group snapshot. Each one leaves in the settlement how far row and memory have
 * come; the outcome is decided by group-settlement.c alone, also when every step succeeded.
 */
#include "service/snapshot-groups.h"

#include "base/log.h"
#include "service/clock.h"
#include "service/context.h"
#include "service/frozen-files.h"
#include "service/group-progress.h"
#include "service/group-record.h"
#include "service/group-settlement.h"
#include "service/metrics.h"
#include "service/names.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* Keeps an attempt that failed before it had a row. */
static void refusal_record(struct service *service, struct settlement *settlement,
                           const struct group_members *members, const struct err *cause,
                           size_t member)
{
    struct err err;
    settlement->row.state = GROUP_ABORTED;
    group_row_fail(&settlement->row, cause, member);
    if ((!settlement->row.members &&
         group_row_fill(service, &settlement->row, members, NULL, &err) != 0) ||
        group_row_write(service, store_group_insert, &settlement->row, &settlement->origin,
                        EVENT_GROUP_ABORTED, &err) != 0)
        log_error("the failed attempt %s is not kept: %s", settlement->row.id, err.message);
}

/* ---- steps ---- */

/* A rollback looks at the images of its target, and opens them; a merge may end in between. If that
 * is why it failed *err says so. */
static void merge_explain(struct service *service, const struct snapshot_group_request *request,
                          struct err *err)
{
    struct err cause = *err;
    CLEANUP_BY(group_row_clear) struct group_row target = {0};
    if (!request->rolled_back_to ||
        (err->code != ErrOpenFileFailed && err->code != ErrNotRelated) ||
        snapshot_groups_get_committed(service, request->rolled_back_to, &target, err) != 0)
        return;
    if (group_bases_check(request, &target, err) == 0)
        *err = cause;
}

static int take_begin(struct service *service, struct settlement *settlement,
                      struct group_progress *progress, const struct group_members *members,
                      struct err *err)
{
    size_t failed = SIZE_MAX;
    settlement->group = group_members_begin(service, members, &failed, err);
    if (!settlement->group)
        merge_explain(service, members->request, err);
    if (settlement->group) {
        settlement->memory = GROUP_MEMORY_HELD;
        if (group_row_fill(service, &settlement->row, members, settlement->group, err) != 0)
            return -1;
    }
    bool has_expired = group_progress_explain(progress, err);
    /* A list that makes no sense is no attempt: nothing was tried on any member. Nobody looks for
     * one that was only to cut. */
    if (!members->request->is_cut && (has_expired || failed != SIZE_MAX))
        refusal_record(service, settlement, members, err, has_expired ? SIZE_MAX : failed);
    return has_expired || !settlement->group ? -1 : 0;
}

static int take_record(struct service *service, struct settlement *settlement,
                       struct group_progress *progress, struct err *err)
{
    if (group_row_write(service, store_group_insert, &settlement->row, &settlement->origin,
                        EVENT_GROUP_PREPARING, err) != 0) {
        if (err->code == ErrStoreFailed)
            settlement->stored = GROUP_PREPARING; /* at most */
        return -1;
    }
    settlement->stored = GROUP_PREPARING;
    if (progress && progress->keeps_row &&
        store_group_get(service->store, settlement->row.id, &progress->row, err) != 0)
        return -1;
    return group_progress_record(progress, err);
}

/* Creates the overlays. */
static int take_prepare(struct settlement *settlement, size_t *failed, struct err *err)
{
    if (group_prepare(settlement->group, failed, err) != 0)
        return -1;
    *failed = SIZE_MAX;
    return frozen_files_fill(settlement->group, &settlement->row, err);
}

/* The point of no return. */
static int take_commit(struct service *service, struct settlement *settlement, struct err *err)
{
    int ret = group_row_write(service, store_group_update_committing, &settlement->row,
                              &settlement->origin, EVENT_KIND_COUNT, err);
    if (ret == 0)
        settlement->stored = GROUP_COMMITTING;
    else if (err->code == ErrStoreFailed)
        settlement->stored = GROUP_STORED_UNKNOWN;
    return ret;
}

/* Whether the group that a rollback goes back to is not being deleted. Once the row is there, none
 * of its images is merged. */
static int target_check(struct service *service, const struct snapshot_group_request *request,
                        struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row target = {0};
    return request->rolled_back_to
               ? snapshot_groups_get_committed(service, request->rolled_back_to, &target, err)
               : 0;
}

static int take_run(struct service *service, struct settlement *settlement,
                    const struct snapshot_group_request *request, struct group_progress *progress,
                    struct err *err)
{
    CLEANUP_BY(group_members_clear) struct group_members members = {.request = request};
    const char *name = request->name ? request->name : settlement->row.id;
    size_t failed = SIZE_MAX;
    if (group_name_check(service, name, err) != 0 ||
        group_members_fill(service, &members, settlement->row.id, err) != 0 ||
        target_check(service, request, err) != 0 ||
        take_begin(service, settlement, progress, &members, err) != 0)
        return -1;
    if (take_record(service, settlement, progress, err) == 0 &&
        take_prepare(settlement, &failed, err) == 0 && group_progress_decide(progress, err) == 0 &&
        take_commit(service, settlement, err) == 0)
        return 0;
    if (group_progress_explain(progress, err))
        failed = SIZE_MAX;
    group_row_fail(&settlement->row, err, failed);
    return -1;
}

static void take_count(struct metrics *metrics, const struct group_row *row, bool is_committed)
{
    metrics_count_group(metrics, is_committed        ? GROUP_OUTCOME_COMMITTED
                                 : row->member_count ? GROUP_OUTCOME_ABORTED
                                                     : GROUP_OUTCOME_REFUSED);
    if (is_committed && row->has_cut)
        metrics_count_pause(metrics, row->pause_us, row->duration_us);
}

int snapshot_groups_take(struct service *service, const struct snapshot_group_request *request,
                         struct group_progress *progress, struct group_row *row, struct err *err)
{
    *row = (struct group_row){0};
    struct settlement *settlement = settlement_new(service, request->count, err);
    if (!settlement)
        return -1;
    if (progress)
        memcpy(settlement->row.id, progress->id, sizeof(settlement->row.id));
    else
        id_new(settlement->row.id);
    settlement->origin = *request->origin;
    take_run(service, settlement, request, progress, err);
    bool is_committed = settlement_end(settlement, progress, row, err);
    if (!request->is_cut)
        take_count(service->metrics, row, is_committed);
    return is_committed ? 0 : -1;
}

void snapshot_groups_abandon(struct service *service, struct group_progress *progress)
{
    struct err cause, err;
    CLEANUP_BY(group_row_clear) struct group_row row = {.state = GROUP_ABORTING};
    memcpy(row.id, progress->id, sizeof(row.id));
    group_progress_explain(progress, &cause);
    group_row_fail(&row, &cause, SIZE_MAX);
    if (group_row_write(service, store_group_update_aborting, &row, &origin_daemon,
                        EVENT_KIND_COUNT, &err) != 0 &&
        err.code != ErrGroupNotFound && err.code != ErrInternalError) /* its thread was faster */
        log_warning("group %s: its row does not say yet that it is aborted: %s", row.id,
                    err.message);
}

/* ---- planning ---- */

struct plan {
    struct service *service;
    const struct group_members *members;
    struct group_row *row;
};

static int plan_member(void *context, size_t position, const struct group_member_info *info,
                       struct err *err)
{
    struct plan *plan = context;
    return group_row_fill_member(plan->service, plan->row, plan->members, position, info, err);
}

static int plan_run(struct plan *plan, const char *name, struct err *err)
{
    size_t failed = SIZE_MAX;
    struct service *service = plan->service;
    struct group_row *row = plan->row;
    const struct group_members *members = plan->members;
    if (group_name_check(service, name, err) != 0)
        return -1;
    if (group_row_begin(row, members->request, err) == 0 &&
        group_plan(service->block, members->list, members->request->count, plan_member, plan,
                   &failed, err) == 0)
        return group_row_try_insert(service, row, err);
    merge_explain(service, members->request, err);
    if (failed == SIZE_MAX)
        return -1;
    struct err cause = *err;
    for (size_t i = 0; i < members->request->count; i++)
        if (!row->members[i].device && plan_member(plan, i, NULL, err) != 0)
            return -1;
    group_row_fail(row, &cause, failed);
    *err = cause;
    return -1;
}

int snapshot_groups_plan(struct service *service, const struct snapshot_group_request *request,
                         struct group_row *row, struct err *err)
{
    CLEANUP_BY(group_members_clear) struct group_members members = {.request = request};
    struct plan plan = {.service = service, .members = &members, .row = row};
    *row = (struct group_row){0};
    id_new(row->id);
    const char *name = request->name ? request->name : row->id;
    return group_members_fill(service, &members, row->id, err) == 0 ? plan_run(&plan, name, err)
                                                                    : -1;
}

/* ---- reading ---- */

int snapshot_groups_get(struct service *service, const char *id_or_name, struct group_row *row,
                        struct err *err)
{
    char normal[GROUP_NAME_MAX + 1];
    *row = (struct group_row){0};
    if (strlen(id_or_name) > GROUP_NAME_MAX)
        return err_set(err, ErrGroupNotFound, 0, "there is no snapshot group of that name or id");
    id_or_name_normal(id_or_name, normal);
    return store_group_get(service->store, normal, row, err);
}

int snapshot_groups_get_committed(struct service *service, const char *id_or_name,
                                  struct group_row *row, struct err *err)
{
    if (snapshot_groups_get(service, id_or_name, row, err) != 0)
        return -1;
    switch (row->kind == GROUP_KIND_CUT ? GROUP_DELETED : row->state) {
    case GROUP_COMMITTED:
        return 0;
    case GROUP_ABORTING:
    case GROUP_ABORTED:
        return err_set(err, ErrGroupNotFound, 0,
                       "snapshot group '%s' was not taken: it has no frozen images", row->id);
    case GROUP_DELETING:
        return err_set(err, ErrGroupDeleting, 0, "snapshot group '%s' is being deleted", row->name);
    case GROUP_DELETED:
        return err_set(err, ErrGroupNotFound, 0,
                       "snapshot group '%s' is deleted: it has no frozen images", row->id);
    default:
        err_set(err, ErrDeviceInUse, 0, "snapshot group '%s' is %s; try again once it is committed",
                row->name, group_state_name(row->state));
        return err_add_holder(err, "group", row->id);
    }
}

int snapshot_groups_list(struct service *service, const struct group_list_filter *filter,
                         uint64_t before, size_t limit, struct group_row **rows, size_t *count,
                         uint64_t *next, struct err *err)
{
    return store_group_list(service->store, filter, before, limit, rows, count, next, err);
}
