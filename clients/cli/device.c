/* SPDX-License-Identifier: Apache-2.0
 *
 * See device.h.
 */
#include "clients/cli/device.h"

#include "clients/cli/body.h"
#include "clients/cli/list.h"
#include "clients/cli/result.h"
#include "clients/cli/uri.h"
#include "clients/cli/values.h"

#include <stdio.h>
#include <string.h>

static const struct column columns[] = {
    {"NAME", "name", CELL_TEXT, false},          {"STATE", "state", CELL_TEXT, false},
    {"SIZE", "size_bytes", CELL_BYTES, false},   {"FORMAT", "format", CELL_TEXT, false},
    {"CHAIN", "chain", CELL_COUNT, false},       {"CLIENTS", "clients", CELL_TEXT, false},
    {"READ-ONLY", "read_only", CELL_TEXT, true}, {"TOP", "top", CELL_TEXT, true},
    {"EXPORT", "export.uri", CELL_TEXT, true},   {"ORIGIN", "origin.how", CELL_TEXT, true},
    {"CREATED", "created_at", CELL_TIME, true},  {"REASON", "reason", CELL_TEXT, true},
    {"LABELS", "labels", CELL_LABELS, false},
};
static const struct resource device = RESOURCE("name", columns);

int run_device_list(struct call *call)
{
    return list_show_kind(call, "devices", &device);
}

int run_device_show(struct call *call)
{
    return list_show_one(call, "devices", &device);
}

/* Sends a POST of a device, and shows the device. */
static int device_post(struct call *call, cJSON *body)
{
    CLEANUP_REPLY struct reply reply = {0};
    if (body_add_size(call, body, "cluster_size_bytes", OPTION_CLUSTER_SIZE) != 0 ||
        body_add_flag(call, body, "extended_l2", OPTION_EXTENDED_L2) != 0 ||
        body_add_labels(call, body, "labels", OPTION_LABEL) != 0 ||
        body_add_list(call, body, "allowed_clients", OPTION_ALLOW_CLIENT) != 0)
        return -1;
    struct request request = {.method = "POST", .path = "/devices"};
    if (body_send(call, request, body, &reply) != 0)
        return -1;
    return result_row(call, &reply, &device);
}

/* A body with the name; NULL without memory. */
static cJSON *device_body(struct call *call, const char *name)
{
    cJSON *body = cJSON_CreateObject();
    if (!body || body_add_text(call, body, "name", name) != 0)
        fail_memory(&call->failure);
    return body;
}

int run_device_create(struct call *call)
{
    const char *name = call_argument(call, 0), *image = call_option(call, OPTION_IMAGE);
    const char *format = call_option(call, OPTION_FORMAT);
    format = format ? format : "qcow2";
    CLEANUP_JSON cJSON *body = device_body(call, name);
    CLEANUP_FREE char *fallback = NULL;
    if (!body || asprintf(&fallback, "%s.%s", name, format) < 0)
        return fail_memory(&call->failure);
    if (body_add_text(call, body, "image", image ? image : fallback) != 0 ||
        body_add_text(call, body, "format", format) != 0 ||
        body_add_size(call, body, "size_bytes", OPTION_SIZE) != 0)
        return -1;
    return device_post(call, body);
}

int run_device_attach(struct call *call)
{
    CLEANUP_JSON cJSON *body = device_body(call, call_argument(call, 0));
    if (!body || body_add_text(call, body, "image", call_argument(call, 1)) != 0 ||
        body_add_option(call, body, "format", OPTION_FORMAT) != 0 ||
        body_add_flag(call, body, "read_only", OPTION_READ_ONLY) != 0 ||
        body_add_flag(call, body, "discard_unflushed", OPTION_DISCARD_UNFLUSHED) != 0)
        return -1;
    return device_post(call, body);
}

int run_device_clone(struct call *call)
{
    const char *member = call_argument(call, 0), *at = strchr(member, '@');
    if (!at || at == member || !at[1])
        return fail(&call->failure, EXIT_USAGE, "'%s' is no DEVICE@GROUP", member);
    CLEANUP_FREE char *source = strndup(member, (size_t)(at - member));
    CLEANUP_JSON cJSON *body = device_body(call, call_argument(call, 1));
    cJSON *from = body ? cJSON_AddObjectToObject(body, "from") : NULL;
    if (!source || !from)
        return fail_memory(&call->failure);
    if (body_add_text(call, from, "group", at + 1) != 0 ||
        body_add_text(call, from, "device", source) != 0 ||
        body_add_option(call, body, "image", OPTION_IMAGE) != 0)
        return -1;
    return device_post(call, body);
}

static int device_patch(struct call *call, const cJSON *body)
{
    CLEANUP_FREE char *path = uri_path("devices", call_argument(call, 0), NULL);
    CLEANUP_REPLY struct reply reply = {0};
    struct request request = {.method = "PATCH", .path = path};
    if (body_send(call, request, body, &reply) != 0)
        return -1;
    return result_row(call, &reply, &device);
}

int run_device_resize(struct call *call)
{
    CLEANUP_JSON cJSON *body = cJSON_CreateObject();
    int64_t size;
    if (value_size("SIZE", call_argument(call, 1), &size, &call->failure) != 0)
        return -1;
    if (!body || !cJSON_AddNumberToObject(body, "size_bytes", (double)size))
        return fail_memory(&call->failure);
    return device_patch(call, body);
}

int run_device_update(struct call *call)
{
    CLEANUP_JSON cJSON *body = cJSON_CreateObject();
    bool admits_all = call_has(call, OPTION_ALLOW_EVERYBODY);
    if (!body)
        return fail_memory(&call->failure);
    if (admits_all && call_has(call, OPTION_ALLOW_CLIENT))
        return fail(&call->failure, EXIT_USAGE,
                    "--allow-client and --allow-everybody exclude each other");
    if (body_add_label_patch(call, body) != 0 ||
        body_add_list(call, body, "allowed_clients", OPTION_ALLOW_CLIENT) != 0)
        return -1;
    if (admits_all && !cJSON_AddNullToObject(body, "allowed_clients"))
        return fail_memory(&call->failure);
    if (!body->child)
        return fail(&call->failure, EXIT_USAGE, "'device update' needs something to change");
    return device_patch(call, body);
}

int run_device_detach(struct call *call)
{
    CLEANUP_FREE char *name = uri_path("devices", call_argument(call, 0), NULL);
    CLEANUP_FREE char *path = NULL;
    bool deletes = call_has(call, OPTION_DELETE_FILE);
    CLEANUP_REPLY struct reply reply = {0};
    if (!name || asprintf(&path, "%s%s", name, deletes ? "?files=delete" : "") < 0)
        return fail_memory(&call->failure);
    struct request request = {
        .method = "DELETE", .path = path, .match = call_option(call, OPTION_MATCH)};
    if (call_has(call, OPTION_DISCARD_UNFLUSHED))
        request.body = "{\"discard_unflushed\":true}";
    return client_send(call, &request, &reply);
}
