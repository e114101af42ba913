/* SPDX-License-Identifier: Apache-2.0
 *
 * The group-snapshot transaction. See snapshot-groups.h for its steps.
 *
 * When the store fails, what is on disk is unknown, and the step at which it failed decides:
 *
 *   step          may be on disk          memory                      then
 *   insert        nothing, preparing      let go at once              the row, if any, is aborted
 *   committing    preparing, committing   HELD: neither pivoted nor   the row decides: committing goes
 *                                         removed until the row       on, preparing is aborted
 *                                         can be read
 *   aborting,     preparing, aborting,    overlays are gone           the row is aborted
 *   aborted       aborted
 *   committed     committing, committed   pivoted: the group stands   the row is committed
 *
 * Both sides of that table are `struct unsettled`: take_settle for the held group, record_settle
 * for the rest. A restart comes to the same results from the same rows (recovery.c).
 */
#include "service/snapshot-groups.h"

#include "base/log.h"
#include "service/clock.h"
#include "service/context.h"
#include "service/frozen-files.h"
#include "service/group-record.h"
#include "service/names.h"
#include "service/unsettled.h"

#include <stdio.h>
#include <string.h>

/* ---- one group on its way ---- */

struct take {
    struct unsettled unsettled;  /* first: the queue hands it back */
    struct group *group;         /* NULL before begin and once let go */
    struct group_record *record; /* NULL once it is the queue's */
    struct group_row row;
    uint64_t started_us; /* monotonic */
};

static void take_free(struct take *take)
{
    /* A group that is still held here is one whose row could not be read to the end; touching its
     * overlays either way could contradict the row, so it is left to the restart. */
    if (take->record)
        group_record_free(take->record);
    group_row_clear(&take->row);
    free(take);
}
CLEANUP_DEFINE(take, struct take *, take_free)

static void take_free_unsettled(struct unsettled *work)
{
    take_free((struct take *)work);
}

void snapshot_group_row_fail(struct group_row *row, const struct err *err, size_t member)
{
    free(row->error_message);
    row->has_error = true;
    row->error_code = err->code;
    row->error_errnum = err->errnum;
    row->error_message = strdup(err->message);
    row->has_error_member = member != SIZE_MAX;
    row->error_member = row->has_error_member ? member : 0;
}

/* Removes the overlays and lets the devices go. */
static void take_undo(struct take *take)
{
    struct err err;
    take->row.state = GROUP_ABORTED;
    if (group_abort(take->group, &err) != 0) {
        log_error("group %s: %s; a restart tries again", take->row.id, err.message);
        take->row.state = GROUP_ABORTING;
    }
    group_free(steal(take->group));
}

/* The pivot and what follows it in memory. */
static void take_pivot(struct take *take)
{
    struct group_row *row = &take->row;
    group_pivot(take->group, &row->cut_at_us, &row->pause_us);
    row->has_cut = true;
    row->has_error = false;
    row->state = GROUP_COMMITTED;
    for (size_t i = 0; i < row->member_count; i++) {
        struct group_member_info info;
        group_member_info(take->group, i, &info);
        row->members[i].has_pause = true;
        row->members[i].pause_us = info.pause_us;
    }
    group_settle(take->group);
    row->has_duration = true;
    row->duration_us = clock_monotonic_us() - take->started_us;
}

/* Offers the frozen members and lets the devices go; the row is final, or is sure to become so
 * first. */
static void take_finish(struct service *service, struct take *take)
{
    snapshot_groups_publish(service, &take->row);
    group_free(steal(take->group));
}

/* ---- begin ---- */

static int member_row_fill(struct member_row *row, const struct group_member *member,
                           const char *group_name)
{
    row->device = strdup(member->device);
    row->format = strdup(member->format ? member->format : "qcow2");
    if (member->snapshot_file)
        row->snapshot_file = strdup(member->snapshot_file);
    else if (asprintf(&row->snapshot_file, "%s+%s.qcow2", member->device, group_name) < 0)
        row->snapshot_file = NULL;
    return row->device && row->format && row->snapshot_file ? 0 : -1;
}

static int take_row_fill(struct take *take, const struct snapshot_group_request *request)
{
    struct group_row *row = &take->row;
    id_new(row->id);
    row->state = GROUP_PREPARING;
    row->created_at_us = clock_now_us();
    row->name = strdup(request->name ? request->name : row->id);
    row->labels = strdup(request->labels);
    row->members = calloc(request->count, sizeof(*row->members));
    if (!row->name || !row->labels || (request->count && !row->members))
        return -1;
    row->member_count = request->count;
    for (size_t i = 0; i < request->count; i++)
        if (member_row_fill(&row->members[i], &request->members[i], row->name) != 0)
            return -1;
    return 0;
}

static struct take *take_new(const struct snapshot_group_request *request, struct err *err)
{
    CLEANUP(take) struct take *take = calloc(1, sizeof(*take));
    if (!take || take_row_fill(take, request) != 0) {
        err_set(err, ErrOutOfResources, 0, "there is no memory for the group");
        return NULL;
    }
    take->record = group_record_new(request->count, err);
    if (!take->record)
        return NULL;
    take->started_us = clock_monotonic_us();
    return steal(take);
}

/* Replaces a string. -1: there is no memory for the new one, and the old one stays. */
static int text_replace(char **text, const char *value)
{
    char *copy = strdup(value);
    if (!copy)
        return -1;
    free(*text);
    *text = copy;
    return 0;
}

/* Keeps an attempt that failed before it had a row. */
static void take_record_refusal(struct service *service, struct take *take, const struct err *cause,
                                size_t member)
{
    struct err err;
    for (size_t i = 0; i < take->row.member_count; i++) {
        CLEANUP_FREE char *path =
            block_resolve(service->block, take->row.members[i].snapshot_file, &err);
        if (path) /* else it stays as it was asked for */
            (void)text_replace(&take->row.members[i].snapshot_file, path);
    }
    take->row.state = GROUP_ABORTED;
    snapshot_group_row_fail(&take->row, cause, member);
    if (store_group_insert(service->store, &take->row, &err) != 0)
        log_error("the failed attempt %s is not kept: %s", take->row.id, err.message);
}

static int take_row_resolve(struct take *take, struct err *err)
{
    for (size_t i = 0; i < take->row.member_count; i++) {
        struct member_row *row = &take->row.members[i];
        struct group_member_info info;
        group_member_info(take->group, i, &info);
        if (text_replace(&row->snapshot_file, info.snapshot_file) != 0 ||
            text_replace(&row->backing_file, info.backing_file) != 0 ||
            text_replace(&row->backing_format, info.backing_format) != 0)
            return err_set(err, ErrOutOfResources, 0, "there is no memory for the group");
    }
    return 0;
}

static int take_begin(struct service *service, struct take *take, struct err *err)
{
    size_t count = take->row.member_count, failed;
    unsigned char id[OWNER_ID_BYTES];
    CLEANUP_FREE struct group_member *members = calloc(count + 1, sizeof(*members));
    if (!members)
        return err_set(err, ErrOutOfResources, 0, "there is no memory for the group");
    for (size_t i = 0; i < count; i++) {
        const struct member_row *row = &take->row.members[i];
        members[i] = (struct group_member){
            .device = row->device, .snapshot_file = row->snapshot_file, .format = row->format};
    }
    id_bytes(take->row.id, id);
    take->group = group_begin(service->block, id, members, count, &failed, err);
    if (take->group) {
        if (take_row_resolve(take, err) == 0)
            return 0;
        take_undo(take);
        return -1;
    }
    /* A list that makes no sense is no attempt: nothing was tried on any member. */
    if (failed != SIZE_MAX)
        take_record_refusal(service, take, err, failed);
    return -1;
}

/* ---- the transaction ---- */

/* So that a call sent twice hears of its name, not of its files, which exist too. The insert is what decides. */
static int take_check_name(struct service *service, const struct take *take, struct err *err)
{
    CLEANUP_BY(group_row_clear) struct group_row now = {0};
    if (store_group_get(service->store, take->row.name, &now, err) == 0)
        return err_set(err, ErrGroupExists, 0, "there is a snapshot group '%s' already",
                       take->row.name);
    return err->code == ErrGroupNotFound ? 0 : -1;
}

/* The row could not be inserted: there is no group of that name, or nobody knows. */
static int take_insert_failed(struct service *service, struct take *take, const struct err *err)
{
    snapshot_group_row_fail(&take->row, err, SIZE_MAX);
    take_undo(take);
    if (err->code == ErrStoreFailed)
        group_record_write(service, &take->record, GROUP_PREPARING, &take->row);
    return -1;
}

/* A member failed after the row was inserted. */
static int take_abort(struct service *service, struct take *take, const struct err *err,
                      size_t member)
{
    struct err second;
    enum group_state state = GROUP_PREPARING;
    snapshot_group_row_fail(&take->row, err, member);
    if (store_group_update_aborting(service->store, &take->row, &second) == 0)
        state = GROUP_ABORTING;
    take_undo(take);
    group_record_write(service, &take->record, state, &take->row);
    return -1;
}

/* Runs under settle_lock, on any request's thread: looks which side of the point of no return the
 * row is on. */
static int take_settle(struct service *service, struct unsettled *work, struct err *err)
{
    struct take *take = (struct take *)work;
    CLEANUP_BY(group_row_clear) struct group_row now = {.state = GROUP_PREPARING};
    if (store_group_get(service->store, take->row.id, &now, err) != 0 && unsettled_is_due(err))
        return -1;
    bool was_held = take->group != NULL;
    if (was_held && now.state == GROUP_COMMITTING)
        take_pivot(take);
    else if (was_held)
        take_undo(take);
    bool failed = group_record_apply(service, now.state, &take->row, err) != 0;
    if (take->group)
        take_finish(service, take);
    return failed && unsettled_is_due(err) ? -1 : 0;
}

/* The store failed at the point of no return. The take becomes the queue's if that lasts. */
static int take_uncertain(struct service *service, struct take **place, struct err *err)
{
    struct take *take = *place;
    struct err again;
    snapshot_group_row_fail(&take->row, err, SIZE_MAX);
    take->unsettled.settle = take_settle;
    take->unsettled.free = take_free_unsettled;
    if (unsettled_settle(service, &take->unsettled, &again) != 0) {
        *place = NULL;
        return -1;
    }
    return take->row.state == GROUP_COMMITTED ? 0 : -1;
}

static int take_run(struct service *service, struct take **place, struct err *err)
{
    struct take *take = *place;
    size_t failed;
    if (take_check_name(service, take, err) != 0 || take_begin(service, take, err) != 0)
        return -1;
    if (store_group_insert(service->store, &take->row, err) != 0)
        return take_insert_failed(service, take, err);
    if (group_prepare(take->group, &failed, err) != 0)
        return take_abort(service, take, err, failed);
    if (frozen_files_fill(take->group, &take->row, err) != 0)
        return take_abort(service, take, err, SIZE_MAX);
    if (store_group_update_committing(service->store, &take->row, err) != 0)
        return err->code == ErrStoreFailed ? take_uncertain(service, place, err)
                                           : take_abort(service, take, err, SIZE_MAX);
    take_pivot(take);
    group_record_write(service, &take->record, GROUP_COMMITTING, &take->row);
    take_finish(service, take);
    return 0;
}

int snapshot_groups_take(struct service *service, const struct snapshot_group_request *request,
                         struct group_row *row, struct err *err)
{
    *row = (struct group_row){0};
    CLEANUP(take) struct take *take = take_new(request, err);
    if (!take)
        return -1;
    int result = take_run(service, &take, err);
    if (take) {
        *row = take->row;
        take->row = (struct group_row){0};
    }
    return result;
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

int snapshot_groups_list(struct service *service, const char *cursor, size_t limit, int state,
                         struct group_row **rows, size_t *count, char next[STORE_CURSOR_CHARS + 1],
                         struct err *err)
{
    return store_group_list(service->store, cursor, limit, state, rows, count, next, err);
}

void snapshot_groups_publish(struct service *service, const struct group_row *row)
{
    struct err err;
    for (size_t i = 0; i < row->member_count; i++) {
        const struct member_row *member = &row->members[i];
        if (member->backing_file && member->backing_format &&
            block_frozen_add(service->block, member->device, row->name, row->id,
                             member->backing_file, member->backing_identity, member->backing_format,
                             &err) != 0)
            log_error("frozen member '%s@%s' is not offered: %s", member->device, row->name,
                      err.message);
    }
}
