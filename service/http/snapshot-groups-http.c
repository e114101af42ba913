/* SPDX-License-Identifier: Apache-2.0
 *
 * /snapshot-groups: decodes requests, calls snapshot-groups.c, encodes what it returns.
 */
#include "service/http/routes.h"

#include "service/context.h"
#include "service/group-runs.h"
#include "service/http/condition.h"
#include "service/http/decode.h"
#include "service/http/encode.h"
#include "service/http/group-body.h"
#include "service/http/group-encode.h"
#include "service/http/list.h"
#include "service/http/merge-patch.h"
#include "service/names.h"
#include "service/snapshot-groups.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- handlers ---- */

/* Names the group that has the name, and whether the same request made it. */
static void group_problem_compare(struct service *service,
                                  const struct snapshot_group_request *wanted,
                                  struct problem *problem)
{
    struct err gone;
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    if (!wanted->name || snapshot_groups_get(service, wanted->name, &row, &gone) != 0)
        return;
    problem_compare(problem, row.id, row.request_hash, wanted->origin->request_hash);
}

/* Points at the field, where the body itself is at fault and no member was tried. */
static void group_problem_locate(struct service *service,
                                 const struct snapshot_group_request *wanted,
                                 struct problem *problem)
{
    if (problem->err.code == ErrGroupExists) {
        problem_point(problem, "/name");
        group_problem_compare(service, wanted, problem);
    }
    if (problem->err.code == ErrEmptyGroup)
        problem_point(problem, "/devices");
    for (size_t i = 1; problem->err.code == ErrDuplicateDevice && i < wanted->count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(wanted->members[i].device, wanted->members[j].device) == 0) {
                problem->device = wanted->members[i].device;
                problem_point(problem, "/devices/%zu", i);
                return;
            }
}

static void group_reply(struct service *service, int status, const struct group_row *row,
                        struct reply *reply)
{
    reply_made(reply, status, "/snapshot-groups", row->id, group_encode(service, row, NULL));
}

/* Replies with the committed group as a GET shows it. If the store lags behind or cannot be read,
 * its version is unknown, and there is no tag. */
static void group_reply_created(struct service *service, const struct group_row *row,
                                struct reply *reply)
{
    struct err err;
    CLEANUP_BY(group_row_clear) struct group_row now = {0};
    bool is_known =
        snapshot_groups_get(service, row->id, &now, &err) == 0 && now.state == row->state;
    group_reply(service, 201, is_known ? &now : row, reply);
    if (is_known)
        reply_tag_row(reply, now.id, now.revision, reply->body);
}

/* How long the call is to wait: with respond-async `wait_s`, else until the end. */
struct preference {
    bool is_async, has_wait;
    unsigned wait_s;
};

static struct preference group_preference(const struct request *request,
                                          const struct snapshot_group_request *wanted)
{
    struct preference preference = {.is_async =
                                        !wanted->is_dry_run && request_prefers_async(request)};
    preference.has_wait = request_prefers_wait(request, &preference.wait_s);
    return preference;
}

/* Says what a reply of 202 has applied. */
static void preference_apply(const struct preference *preference, struct reply *reply)
{
    if (preference->has_wait)
        reply_header_add(reply, "Preference-Applied", "respond-async, wait=%u", preference->wait_s);
    else
        reply_header_add(reply, "Preference-Applied", "respond-async");
}

static void snapshot_group_take_and_reply(struct service *service, const struct request *request,
                                          const struct snapshot_group_request *wanted,
                                          uint64_t deadline_ms, struct reply *reply)
{
    char instance[GROUP_PATH_BYTES];
    struct problem problem = {0};
    const struct group_row *row;
    const struct preference preference = group_preference(request, wanted);
    CLEANUP(group_run)
    struct group_run *run = group_run_start(
        service->group_runs, wanted, deadline_ms,
        preference.is_async ? (int64_t)preference.wait_s : GROUP_WAIT_FOREVER, &problem.err);
    int result = run ? group_run_await(run, &row, &problem.err) : -1;
    if (result == 0 && wanted->is_dry_run) {
        reply_json(reply, 200, plan_encode(wanted, row));
    } else if (result == 0) {
        group_reply_created(service, row, reply);
        if (preference.is_async && preference.has_wait)
            reply_header_add(reply, "Preference-Applied", "wait=%u", preference.wait_s);
    } else if (result == 1) {
        group_reply(service, 202, row, reply);
        preference_apply(&preference, reply);
    } else {
        if (run && !wanted->is_dry_run &&
            (row->has_error_member || problem.err.code == ErrDeadlineExceeded))
            problem.instance = group_path(row, instance); /* the attempt, which is kept */
        if (run && row->has_error_member)
            group_problem(row, &problem);
        else
            group_problem_locate(service, wanted, &problem);
        reply_problem(reply, &problem);
    }
}

void snapshot_group_create(struct service *service, const struct request *request,
                           struct reply *reply)
{
    struct problem problem = {0};
    CLEANUP_BY(group_wanted_clear) struct group_wanted wanted = {0};
    if (group_body_decode(service, request, &wanted, &problem) == 0)
        snapshot_group_take_and_reply(service, request, &wanted.request, wanted.deadline_ms, reply);
    else
        reply_problem(reply, &problem);
}

/* Replies with the group, and its tag. */
static void reply_group(struct service *service, struct reply *reply, const struct group_row *row)
{
    reply_tagged(reply, group_encode(service, row, NULL), row->id, row->revision);
}

void snapshot_group_get(struct service *service, const struct request *request, struct reply *reply)
{
    struct err err;
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    if (snapshot_groups_get(service, request->argument, &row, &err) != 0)
        reply_error(reply, &err);
    else
        reply_group(service, reply, &row);
}

void snapshot_group_update(struct service *service, const struct request *request,
                           struct reply *reply)
{
    struct problem problem = {0};
    struct labels_patch patch;
    const struct labels_change *change = labels_patch_begin(&patch, request, &problem);
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    if (group_labels_change(service, request->argument, change, &row, &problem.err) != 0)
        reply_problem(reply, &problem);
    else
        reply_group(service, reply, &row);
}

/* Decodes the parameter `state`. */
static int request_group_state(const struct request *request, const char **state, struct err *err)
{
    *state = request_parameter(request, "state");
    for (int i = GROUP_PREPARING; *state && i <= GROUP_ABORTED; i++)
        if (strcmp(*state, group_state_name((enum group_state)i)) == 0)
            return 0;
    return !*state ? 0
                   : err_set(err, ErrInvalidParameter, 0,
                             "query parameter 'state' must be preparing, committing, committed, "
                             "aborting or aborted");
}

static int group_filter_decode(const struct request *request, const struct list_query *query,
                               struct group_list_filter *filter, struct err *err)
{
    static_assert(LIST_LABELS_MAX <= GROUP_FILTER_LABELS_MAX, "a filter takes every label");
    *filter = (struct group_list_filter){.name = request_parameter(request, "name"),
                                         .device = request_parameter(request, "device"),
                                         .label_count = query->label_count};
    for (size_t i = 0; i < query->label_count; i++) {
        filter->labels[i].key = query->labels[i].key;
        filter->labels[i].value = query->labels[i].value;
    }
    if (request_group_state(request, &filter->state, err) != 0 ||
        list_time(request, "created_after", &filter->has_created_after, &filter->created_after_us,
                  err) != 0)
        return -1;
    return list_time(request, "created_before", &filter->has_created_before,
                     &filter->created_before_us, err);
}

/* A position is the sequence number of the group before it. */
static int group_position(const struct list_query *query, uint64_t *before, struct err *err)
{
    size_t digits = strspn(query->position, "0123456789");
    *before = strtoull(query->position, NULL, 10);
    return digits <= 18 && query->position[digits] == '\0' ? 0 : list_cursor_refuse(err);
}

static void reply_group_page(struct reply *reply, const struct list_query *query,
                             const struct group_row *rows, size_t count, uint64_t next,
                             const enum member_readiness *known)
{
    char position[LIST_POSITION_BYTES], cursor[LIST_CURSOR_BYTES];
    struct cJSON *json = cJSON_CreateObject();
    struct cJSON *items = encode_array(json, "items");
    for (size_t i = 0; i < count; known += rows[i++].member_count)
        cJSON_AddItemToArray(items, group_encode(NULL, &rows[i], known));
    snprintf(position, sizeof(position), "%" PRIu64, next);
    list_cursor_format(query, position, cursor);
    encode_text(json, "next", next ? cursor : NULL);
    reply_json(reply, 200, json);
    reply_tag(reply);
}

void snapshot_group_list(struct service *service, const struct request *request,
                         struct reply *reply)
{
    struct err err;
    struct list_query query;
    struct group_list_filter filter;
    struct group_row *rows;
    size_t count;
    uint64_t before, next;
    if (list_query_parse(request, &query, &err) != 0 ||
        group_filter_decode(request, &query, &filter, &err) != 0 ||
        group_position(&query, &before, &err) != 0 ||
        snapshot_groups_list(service, &filter, before, query.limit, &rows, &count, &next, &err) !=
            0) {
        reply_error(reply, &err);
        return;
    }
    CLEANUP_FREE enum member_readiness *known = readiness_list(service->readiness, rows, count);
    if (known) {
        reply_group_page(reply, &query, rows, count, next, known);
    } else {
        err_set(&err, ErrOutOfResources, 0, "there is no memory for a page");
        reply_error(reply, &err);
    }
    group_rows_free(rows, count);
}
