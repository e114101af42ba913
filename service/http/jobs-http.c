/* SPDX-License-Identifier: Apache-2.0
 *
 * /jobs, and DELETE /snapshot-groups/{id}, which begins one: decodes requests, calls jobs.c and
 * deletes.c, encodes what they return.
 */
#include "service/http/routes.h"

#include "service/context.h"
#include "service/deletes.h"
#include "service/http/condition.h"
#include "service/http/encode.h"
#include "service/http/job-encode.h"
#include "service/http/list.h"
#include "service/jobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATE_BYTES_MAX 16

/* ---- jobs ---- */

void job_get(struct service *service, const struct request *request, struct reply *reply)
{
    struct err err;
    CLEANUP_BY(job_row_clear) struct job_row row = {0};
    if (jobs_get(service, request->argument, &row, &err) != 0)
        reply_error(reply, &err);
    else
        reply_tagged(reply, job_encode(&row), row.id, row.revision);
}

struct job_body {
    const char *state;
    struct decode_number rate_bytes_per_second;
};

static const struct decode_field job_fields[] = {
    {"state", DECODE_TEXT, false, offsetof(struct job_body, state), STATE_BYTES_MAX},
    {"rate_bytes_per_second", DECODE_NUMBER, false,
     offsetof(struct job_body, rate_bytes_per_second), 0},
};
const struct decode_table job_patch_body = DECODE_TABLE(struct job_body, job_fields, true);

static int change_decode(const struct job_body *body, struct job_change *change,
                         struct problem *problem)
{
    change->has_rate = body->rate_bytes_per_second.given;
    change->rate_bytes_per_second = body->rate_bytes_per_second.value;
    change->has_state = body->state != NULL;
    if (!body->state)
        return 0;
    change->state = job_state_from_name(body->state);
    if (change->state == JOB_RUNNING || change->state == JOB_PAUSED ||
        change->state == JOB_CANCELLED)
        return 0;
    problem_point(problem, "/state");
    return err_set(&problem->err, ErrInvalidValue, 0,
                   "a job can be made running, paused or cancelled");
}

void job_update(struct service *service, const struct request *request, struct reply *reply)
{
    struct problem problem = {0};
    struct condition condition;
    struct job_change change = {.origin = &request->origin,
                                .condition = request_condition(request, &condition)};
    CLEANUP_BY(job_row_clear) struct job_row row = {0};
    if (change_decode(request->fields, &change, &problem) != 0 ||
        jobs_change(service, request->argument, &change, &row, &problem.err) != 0)
        reply_problem(reply, &problem);
    else
        reply_tagged(reply, job_encode(&row), row.id, row.revision);
}

/* JOB_STATES: any. */
static int request_job_state(const struct request *request, enum job_state *state, struct err *err)
{
    const char *name = request_parameter(request, "state");
    *state = name ? job_state_from_name(name) : JOB_STATES;
    return !name || *state != JOB_STATES
               ? 0
               : err_set(err, ErrInvalidParameter, 0,
                         "query parameter 'state' must be queued, running, paused, done, failed or "
                         "cancelled");
}

/* A position is the sequence number of the job before it. */
static int job_position(const struct list_query *query, uint64_t *before, struct err *err)
{
    size_t digits = strspn(query->position, "0123456789");
    *before = strtoull(query->position, NULL, 10);
    return digits <= 18 && query->position[digits] == '\0' ? 0 : list_cursor_refuse(err);
}

static void reply_job_page(struct reply *reply, const struct list_query *query,
                           const struct job_row *rows, size_t count, uint64_t next)
{
    char position[LIST_POSITION_BYTES], cursor[LIST_CURSOR_BYTES];
    cJSON *json = cJSON_CreateObject();
    cJSON *items = encode_array(json, "items");
    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(items, job_encode(&rows[i]));
    snprintf(position, sizeof(position), "%" PRIu64, next);
    list_cursor_format(query, position, cursor);
    encode_text(json, "next", next ? cursor : NULL);
    reply_json(reply, 200, json);
    reply_tag(reply);
}

void job_list(struct service *service, const struct request *request, struct reply *reply)
{
    struct err err;
    struct list_query query;
    struct job_row *rows;
    enum job_state state;
    size_t count;
    uint64_t before, next;
    if (list_query_parse(request, &query, &err) != 0 ||
        request_job_state(request, &state, &err) != 0 || job_position(&query, &before, &err) != 0 ||
        store_job_list(service->store, state, before, query.limit, &rows, &count, &next, &err) !=
            0) {
        reply_error(reply, &err);
        return;
    }
    reply_job_page(reply, &query, rows, count, next);
    job_rows_free(rows, count);
}

/* ---- deleting ---- */

static void reply_delete_plan(struct service *service, const struct request *request,
                              struct reply *reply)
{
    struct err err;
    struct delete_plan plan;
    struct condition condition;
    if (delete_plan(service, request->argument, request_condition(request, &condition), &plan,
                    &err) != 0) {
        reply_error(reply, &err);
        return;
    }
    cJSON *json = cJSON_CreateObject();
    encode_number(json, "copy_bytes", plan.copy_bytes);
    encode_number(json, "freed_bytes", plan.freed_bytes);
    if (plan.free_bytes == UINT64_MAX)
        encode_null(json, "free_bytes");
    else
        encode_number(json, "free_bytes", plan.free_bytes);
    encode_json(json, "kept", plan.kept);
    free(plan.kept);
    reply_json(reply, 200, json);
}

void snapshot_group_delete(struct service *service, const struct request *request,
                           struct reply *reply)
{
    struct err err;
    struct condition condition;
    bool is_dry_run;
    CLEANUP_BY(job_row_clear) struct job_row job = {0};
    if (request_flag(request, "dry_run", &is_dry_run, &err) != 0) {
        reply_error(reply, &err);
        return;
    }
    if (is_dry_run) {
        reply_delete_plan(service, request, reply);
        return;
    }
    if (delete_begin(service, request->argument, request_condition(request, &condition),
                     &request->origin, &job, &err) != 0) {
        reply_error(reply, &err);
        return;
    }
    reply_made(reply, 202, "/jobs", job.id, job_encode(&job));
}
