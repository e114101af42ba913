/* SPDX-License-Identifier: Apache-2.0
 *
 * See job.h.
 */
#include "clients/cli/job.h"

#include "clients/cli/body.h"
#include "clients/cli/list.h"
#include "clients/cli/result.h"
#include "clients/cli/uri.h"
#include "clients/cli/values.h"
#include "clients/cli/wait.h"

#include <stdio.h>

static const struct column columns[] = {
    {"ID", "id", CELL_TEXT, false},
    {"KIND", "kind", CELL_TEXT, false},
    {"STATE", "state", CELL_TEXT, false},
    {"PROGRESS", "progress", CELL_PROGRESS, false},
    {"DEVICE", "device", CELL_TEXT, true},
    {"GROUP", "group", CELL_TEXT, true},
    {"RATE", "rate_bytes_per_second", CELL_BYTES, true},
    {"CREATED", "created_at", CELL_TIME, false},
    {"FINISHED", "finished_at", CELL_TIME, false},
    {"ERROR", "error.detail", CELL_TEXT, true},
};
static const struct resource job = RESOURCE("id", columns);

int run_job_list(struct call *call)
{
    return list_show_kind(call, "jobs", &job);
}

int run_job_show(struct call *call)
{
    return list_show_one(call, "jobs", &job);
}

int run_job_watch(struct call *call)
{
    CLEANUP_REPLY struct reply reply = {0};
    if (wait_job(call, call_argument(call, 0), &reply) != 0)
        return -1;
    return result_row(call, &reply, &job);
}

int job_finish(struct call *call, struct reply *reply)
{
    bool is_wanted = false;
    CLEANUP_FREE char *id = wait_id(reply);
    if (wait_wanted(call, &is_wanted) != 0)
        return -1;
    if (is_wanted && id && wait_job(call, id, reply) != 0)
        return -1;
    return result_row(call, reply, &job);
}

static int job_patch(struct call *call, const cJSON *body)
{
    CLEANUP_FREE char *path = uri_path("jobs", call_argument(call, 0), NULL);
    CLEANUP_REPLY struct reply reply = {0};
    struct request request = {.method = "PATCH", .path = path};
    if (!body)
        return fail_memory(&call->failure);
    if (body_send(call, request, body, &reply) != 0)
        return -1;
    return result_row(call, &reply, &job);
}

static int state_patch(struct call *call, const char *state)
{
    CLEANUP_JSON cJSON *body = cJSON_CreateObject();
    if (!body || body_add_text(call, body, "state", state) != 0)
        return fail_memory(&call->failure);
    return job_patch(call, body);
}

int run_job_cancel(struct call *call)
{
    return state_patch(call, "cancelled");
}

int run_job_pause(struct call *call)
{
    return state_patch(call, "paused");
}

int run_job_resume(struct call *call)
{
    return state_patch(call, "running");
}

int run_job_limit(struct call *call)
{
    CLEANUP_JSON cJSON *body = cJSON_CreateObject();
    int64_t rate;
    if (value_size("RATE", call_argument(call, 1), &rate, &call->failure) != 0)
        return -1;
    if (!body || !cJSON_AddNumberToObject(body, "rate_bytes_per_second", (double)rate))
        return fail_memory(&call->failure);
    return job_patch(call, body);
}
