/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-take.h. The daemon ends a group's call by itself, at its deadline and after
 * `settle_ms`: the reply is awaited for as long.
 */
#include "clients/cli/group-take.h"

#include "clients/cli/body.h"
#include "clients/cli/group.h"
#include "clients/cli/result.h"
#include "clients/cli/uri.h"
#include "clients/cli/wait.h"

#include <stdio.h>
#include <string.h>

#define DEADLINE_MS 60000 /* the daemon's, if none is given */
#define SETTLE_MS   10000
#define MARGIN_MS   60000

/* DEVICE or DEVICE=SNAPSHOT-FILE. */
static int member_add(struct call *call, cJSON *members, const char *text)
{
    const char *equals = strchr(text, '=');
    cJSON *member = cJSON_CreateObject();
    CLEANUP_FREE char *device = strndup(text, equals ? (size_t)(equals - text) : strlen(text));
    if (!member || !device || !cJSON_AddItemToArray(members, member))
        return fail_memory(&call->failure);
    if (body_add_text(call, member, "device", device) != 0)
        return -1;
    return body_add_text(call, member, "snapshot_file", equals ? equals + 1 : NULL);
}

static int members_add(struct call *call, cJSON *body)
{
    bool has_selector = call_has(call, OPTION_SELECTOR);
    if (has_selector == (call->argument_count > 1))
        return fail(&call->failure, EXIT_USAGE, "'group take' needs devices, or --selector");
    cJSON *members = has_selector ? cJSON_AddObjectToObject(body, "selector")
                                  : cJSON_AddArrayToObject(body, "devices");
    if (!members)
        return fail_memory(&call->failure);
    if (has_selector)
        return body_add_labels(call, members, "labels", OPTION_SELECTOR);
    for (size_t i = 1; i < call->argument_count; i++)
        if (member_add(call, members, call->arguments[i]) != 0)
            return -1;
    return 0;
}

static int64_t patience_of(const cJSON *body)
{
    const cJSON *deadline = cJSON_GetObjectItemCaseSensitive(body, "deadline_ms");
    const cJSON *settle = cJSON_GetObjectItemCaseSensitive(body, "settle_ms");
    return (deadline ? (int64_t)deadline->valuedouble : DEADLINE_MS) +
           (settle ? (int64_t)settle->valuedouble : SETTLE_MS) + MARGIN_MS;
}

/* Adds what both have, sends the body to `path`, and waits. */
static int group_make(struct call *call, const char *path, cJSON *body)
{
    bool is_dry = call_has(call, OPTION_DRY_RUN), waits = false;
    CLEANUP_FREE char *target = NULL;
    CLEANUP_REPLY struct reply reply = {0};
    if (wait_wanted(call, &waits) != 0 ||
        body_add_labels(call, body, "labels", OPTION_LABEL) != 0 ||
        body_add_time(call, body, "deadline_ms", OPTION_DEADLINE) != 0 ||
        body_add_time(call, body, "settle_ms", OPTION_SETTLE) != 0)
        return -1;
    if (!path || asprintf(&target, "%s%s", path, is_dry ? "?dry_run=true" : "") < 0)
        return fail_memory(&call->failure);
    struct request request = {.method = "POST",
                              .path = target,
                              .prefer = waits ? NULL : "respond-async",
                              .patience_ms = patience_of(body)};
    if (body_send(call, request, body, &reply) != 0)
        return -1;
    if (is_dry)
        return result_whole(call, &reply, &group_resource);
    CLEANUP_FREE char *id = wait_id(&reply);
    if (waits && reply.status == 202 && id && wait_group(call, id, &reply) != 0)
        return -1;
    return result_row(call, &reply, &group_resource);
}

int run_group_take(struct call *call)
{
    CLEANUP_JSON cJSON *body = cJSON_CreateObject();
    if (!body || body_add_text(call, body, "name", call_argument(call, 0)) != 0)
        return fail_memory(&call->failure);
    return members_add(call, body) != 0 ? -1 : group_make(call, "/snapshot-groups", body);
}

int run_group_rollback(struct call *call)
{
    CLEANUP_FREE char *path =
        uri_path("snapshot-groups", call_argument(call, 0), "rollbacks", NULL);
    CLEANUP_JSON cJSON *body = cJSON_CreateObject();
    if (!body)
        return fail_memory(&call->failure);
    if (body_add_option(call, body, "name", OPTION_NAME) != 0 ||
        body_add_flag(call, body, "disconnect", OPTION_DISCONNECT) != 0)
        return -1;
    return group_make(call, path, body);
}
