/* SPDX-License-Identifier: Apache-2.0
 *
 * See group.h.
 */
#include "clients/cli/group.h"

#include "clients/cli/body.h"
#include "clients/cli/job.h"
#include "clients/cli/list.h"
#include "clients/cli/result.h"
#include "clients/cli/uri.h"
#include "clients/cli/wait.h"

#include <stdio.h>

static const struct column columns[] = {
    {"NAME", "name", CELL_TEXT, false},
    {"STATE", "state", CELL_TEXT, false},
    {"KIND", "kind", CELL_TEXT, false},
    {"DEVICES", "members", CELL_LIST, false},
    {"CREATED", "created_at", CELL_TIME, false},
    {"HOLDS", "holds", CELL_LIST, false},
    {"ID", "id", CELL_TEXT, true},
    {"CUT", "cut_at", CELL_TEXT, true},
    {"PAUSE-US", "pause_us", CELL_TEXT, true},
    {"SEALED-US", "sealed_us", CELL_TEXT, true},
    {"DURATION-US", "duration_us", CELL_TEXT, true},
    {"CONSISTENCY", "consistency.achieved", CELL_TEXT, true},
    {"LABELS", "labels", CELL_LABELS, true},
    {"ERROR", "error.detail", CELL_TEXT, true},
};
const struct resource group_resource = RESOURCE("name", columns);

static const struct column extent_columns[] = {
    {"OFFSET", "offset_bytes", CELL_TEXT, false},
    {"LENGTH", "length_bytes", CELL_TEXT, false},
    {"ZERO", "zero", CELL_TEXT, false},
};
static const struct resource extent = RESOURCE("offset_bytes", extent_columns);

/* What a dry run of a delete or a copy shows: it has no name. */
static const struct resource plan = {"image", NULL, 0};

int run_group_list(struct call *call)
{
    return list_show_kind(call, "snapshot-groups", &group_resource);
}

int run_group_show(struct call *call)
{
    return list_show_one(call, "snapshot-groups", &group_resource);
}

int run_group_update(struct call *call)
{
    CLEANUP_FREE char *path = uri_path("snapshot-groups", call_argument(call, 0), NULL);
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_JSON cJSON *body = cJSON_CreateObject();
    struct request request = {.method = "PATCH", .path = path};
    if (!body)
        return fail_memory(&call->failure);
    if (body_add_label_patch(call, body) != 0)
        return -1;
    if (!body->child)
        return fail(&call->failure, EXIT_USAGE, "'group update' needs something to change");
    if (body_send(call, request, body, &reply) != 0)
        return -1;
    return result_row(call, &reply, &group_resource);
}

int run_group_delete(struct call *call)
{
    CLEANUP_FREE char *name = uri_path("snapshot-groups", call_argument(call, 0), NULL);
    CLEANUP_FREE char *path = NULL;
    bool is_dry = call_has(call, OPTION_DRY_RUN), waits = false;
    CLEANUP_REPLY struct reply reply = {0};
    if (wait_wanted(call, &waits) != 0)
        return -1;
    if (!name || asprintf(&path, "%s%s", name, is_dry ? "?dry_run=true" : "") < 0)
        return fail_memory(&call->failure);
    struct request request = {
        .method = "DELETE", .path = path, .match = call_option(call, OPTION_MATCH)};
    if (client_send(call, &request, &reply) != 0)
        return -1;
    return is_dry ? result_whole(call, &reply, &plan) : job_finish(call, &reply);
}

int run_group_hold(struct call *call)
{
    CLEANUP_FREE char *path =
        uri_path("snapshot-groups", call_argument(call, 0), "holds", call_argument(call, 1), NULL);
    CLEANUP_REPLY struct reply reply = {0};
    struct request request = {.method = call_has(call, OPTION_RELEASE) ? "DELETE" : "PUT",
                              .path = path};
    if (!path)
        return fail_memory(&call->failure);
    if (client_send(call, &request, &reply) != 0)
        return -1;
    return result_row(call, &reply, &group_resource);
}

int run_group_extents(struct call *call)
{
    CLEANUP_FREE char *path = uri_path("snapshot-groups", call_argument(call, 0), "members",
                                       call_argument(call, 1), "extents", NULL);
    if (!path)
        return fail_memory(&call->failure);
    return list_show(
        call, &(struct list){
                  .path = path, .cursor = "cursor", .page_items_max = 10000, .resource = &extent});
}

int run_group_copy(struct call *call)
{
    CLEANUP_FREE char *path = uri_path("snapshot-groups", call_argument(call, 0), "copies", NULL);
    CLEANUP_FREE char *target = NULL;
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_JSON cJSON *body = cJSON_CreateObject();
    bool is_dry = call_has(call, OPTION_DRY_RUN), waits = false;
    if (wait_wanted(call, &waits) != 0)
        return -1;
    if (!body || !path || asprintf(&target, "%s%s", path, is_dry ? "?dry_run=true" : "") < 0)
        return fail_memory(&call->failure);
    if (body_add_text(call, body, "device", call_argument(call, 1)) != 0 ||
        body_add_text(call, body, "image", call_argument(call, 2)) != 0 ||
        body_add_option(call, body, "format", OPTION_FORMAT) != 0)
        return -1;
    struct request request = {.method = "POST", .path = target};
    if (body_send(call, request, body, &reply) != 0)
        return -1;
    return is_dry ? result_whole(call, &reply, &plan) : job_finish(call, &reply);
}
