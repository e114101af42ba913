/* SPDX-License-Identifier: Apache-2.0
 *
 * /devices: decodes requests, calls devices.c, encodes what it returns.
 */
#include "service/http/routes.h"

#include "service/context.h"
#include "service/device-cache.h"
#include "service/devices.h"
#include "service/http/client-names.h"
#include "service/http/condition.h"
#include "service/http/decode.h"
#include "service/http/device-encode.h"
#include "service/http/encode.h"
#include "service/http/list.h"
#include "service/names.h"
#include "store/devices.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- decoding ---- */

/* The body of POST /devices. */
struct device_body {
    const char *name, *image, *format;
    const struct cJSON *from;
    struct decode_number size;
    struct decode_bool read_only;
    struct decode_number cluster_size;
    struct decode_bool extended_l2;
    const struct cJSON *labels, *allowed_clients;
    struct decode_bool discard_unflushed;
};

static const struct decode_field device_fields[] = {
    {"name", DECODE_TEXT, true, offsetof(struct device_body, name), DEVICE_NAME_MAX},
    {"from", DECODE_OBJECT, false, offsetof(struct device_body, from), 0},
    {"image", DECODE_TEXT, false, offsetof(struct device_body, image), PATH_BYTES_MAX},
    {"format", DECODE_TEXT, false, offsetof(struct device_body, format), DECODE_FORMAT_MAX_BYTES},
    {"size_bytes", DECODE_NUMBER, false, offsetof(struct device_body, size), 0},
    {"read_only", DECODE_BOOL, false, offsetof(struct device_body, read_only), 0},
    {"cluster_size_bytes", DECODE_NUMBER, false, offsetof(struct device_body, cluster_size), 0},
    {"extended_l2", DECODE_BOOL, false, offsetof(struct device_body, extended_l2), 0},
    {"labels", DECODE_OBJECT, false, offsetof(struct device_body, labels), 0},
    {"allowed_clients", DECODE_ARRAY, false, offsetof(struct device_body, allowed_clients), 0},
    {"discard_unflushed", DECODE_BOOL, false, offsetof(struct device_body, discard_unflushed), 0},
};

/* Its `from`. */
static const struct decode_field from_fields[] = {
    {"group", DECODE_TEXT, true, offsetof(struct device_from, group), GROUP_NAME_MAX},
    {"device", DECODE_TEXT, true, offsetof(struct device_from, device), DEVICE_NAME_MAX},
};
static const struct decode_table from_table = DECODE_TABLE(struct device_from, from_fields, true);

/* The body of DELETE /devices/{name}, which is optional. */
struct detach_body {
    struct decode_bool discard_unflushed;
};

static const struct decode_field detach_fields[] = {
    {"discard_unflushed", DECODE_BOOL, false, offsetof(struct detach_body, discard_unflushed), 0},
};

const struct decode_table device_create_body =
    DECODE_TABLE(struct device_body, device_fields, true);
const struct decode_table device_delete_body =
    DECODE_TABLE(struct detach_body, detach_fields, false);

static int device_body_check_clusters(const struct device_body *body, struct problem *problem)
{
    uint64_t bytes = body->cluster_size.value;
    bool is_extended = body->extended_l2.value;
    if (!body->cluster_size.given ||
        (bytes <= CLUSTER_BYTES_MAX &&
         cluster_shape_is_valid((struct cluster_shape){(uint32_t)bytes, is_extended})))
        return 0;
    err_set(&problem->err, ErrInvalidValue, 0,
            "'cluster_size_bytes' must be a power of two from %d%s to %d",
            is_extended ? CLUSTER_BYTES_MIN_EXTENDED : CLUSTER_BYTES_MIN,
            is_extended ? " (with 'extended_l2')" : "", CLUSTER_BYTES_MAX);
    return problem_point(problem, "/cluster_size_bytes");
}

/* The shape of overlays. Small clusters have no subclusters by default. */
static struct cluster_shape device_body_overlay(const struct device_body *body)
{
    bool is_plain = body->extended_l2.given && !body->extended_l2.value;
    struct cluster_shape shape = {.cluster_bytes =
                                      is_plain ? IMAGE_CLUSTER_BYTES : OVERLAY_CLUSTER_BYTES};
    if (body->cluster_size.given)
        shape.cluster_bytes = (uint32_t)body->cluster_size.value;
    shape.extended_l2 = body->extended_l2.given ? body->extended_l2.value
                                                : shape.cluster_bytes >= CLUSTER_BYTES_MIN_EXTENDED;
    return shape;
}

/* The shape of a created image: its format's default, unless given. */
static struct cluster_shape device_body_created(const struct device_body *body)
{
    if (body->extended_l2.value)
        return device_body_overlay(body);
    return (struct cluster_shape){.cluster_bytes = (uint32_t)body->cluster_size.value};
}

/* The image of a clone follows from what is cloned. */
static int device_body_check_clone(const struct device_body *body, struct problem *problem)
{
    const char *field = body->format                    ? "format"
                        : body->size.given              ? "size_bytes"
                        : body->read_only.given         ? "read_only"
                        : body->discard_unflushed.given ? "discard_unflushed"
                                                        : NULL;
    if (!field)
        return 0;
    err_set(&problem->err, ErrInvalidValue, 0,
            "a clone has the size of what it is cloned from, in a new qcow2 image: leave '%s' out",
            field);
    return problem_point(problem, "/%s", field);
}

static int device_body_check_image(const struct device_body *body, struct problem *problem)
{
    if (body->from)
        return device_body_check_clone(body, problem);
    const char *missing = !body->image ? "image" : !body->format ? "format" : NULL;
    if (!missing)
        return 0;
    err_set(&problem->err, ErrMissingField, 0, "field '%s' is missing", missing);
    return problem_point(problem, "/%s", missing);
}

static int device_body_check(const struct device_body *body, struct problem *problem)
{
    if (device_body_check_image(body, problem) != 0)
        return -1;
    if (!name_is_valid(body->name, DEVICE_NAME_MAX)) {
        err_set(&problem->err, ErrInvalidValue, 0,
                "a device's name has 1 to %d of the characters A-Z a-z 0-9 . _ - and begins with a "
                "letter or digit",
                DEVICE_NAME_MAX);
        return problem_point(problem, "/name");
    }
    if (body->size.given && (body->size.value == 0 || body->size.value > DEVICE_SIZE_MAX_BYTES)) {
        err_set(&problem->err, ErrInvalidValue, 0, "'size_bytes' must be from 1 to 2^53");
        return problem_point(problem, "/size_bytes");
    }
    if (body->size.given && body->read_only.value) {
        err_set(&problem->err, ErrInvalidValue, 0,
                "a disk that is created cannot be read-only; leave 'size_bytes' out to attach one");
        return problem_point(problem, "/read_only");
    }
    if (body->size.given && body->discard_unflushed.value) {
        err_set(
            &problem->err, ErrInvalidValue, 0,
            "a disk that is created has nothing to discard; leave 'size_bytes' out to attach one");
        return problem_point(problem, "/discard_unflushed");
    }
    return device_body_check_clusters(body, problem);
}

/* Names the device that has the name, and whether the same request made it. */
static void device_problem_compare(struct service *service, const struct request *request,
                                   const char *name, struct problem *problem)
{
    struct err gone;
    CLEANUP_BY(device_row_clear) struct device_row row = {0};
    if (store_device_get(service->store, name, &row, &gone) == 0 &&
        row.state == DEVICE_ROW_ATTACHED)
        problem_compare(problem, row.name, row.request_hash, request->origin.request_hash);
}

/* Points at the member that cannot be cloned, or at its group. */
static void device_problem_locate_from(const struct device_from *from, enum device_part part,
                                       struct problem *problem)
{
    problem_point(problem, part == DEVICE_PART_GROUP ? "/from/group" : "/from/device");
    problem->device = from->device;
}

/* Points at the field that an error of devices_add() is about. */
static void device_problem_locate(struct service *service, const struct request *request,
                                  const struct device_body *body, struct problem *problem)
{
    problem->device = body->name;
    switch (problem->err.code) {
    case ErrDeviceExists:
        problem_point(problem, "/name");
        device_problem_compare(service, request, body->name, problem);
        break;
    case ErrInvalidBlockFormat:
        problem_point(problem,
                      !body->format || block_format_known(body->format) ? "/image" : "/format");
        break;
    case ErrGroupNotFound:
        problem_point(problem, "/from/group");
        break;
    case ErrOpenFileFailed:
    case ErrUnflushedData:
    case ErrDeviceInUse:
    case ErrImageInUse:
        problem_point(problem, "/image");
        break;
    case ErrInvalidValue:
        problem_point(problem, "/cluster_size_bytes");
        break;
    default:
        break;
    }
}

/* *labels and *clients: texts of *wanted, on the heap. */
static int device_request_decode(struct service *service, const struct request *request,
                                 struct device_request *wanted, char **labels, char **clients,
                                 struct problem *problem)
{
    const struct device_body *body = request->fields;
    struct device_from from = {0};
    if (device_body_check(body, problem) != 0 ||
        (body->from && decode_object(body->from, "/from", &from_table, &from, problem) != 0) ||
        !(*labels = decode_labels(body->labels, "/labels", problem)) ||
        (body->allowed_clients &&
         !(*clients = decode_allowed_clients(service, body->allowed_clients, problem))))
        return -1;
    *wanted = (struct device_request){.name = body->name,
                                      .from = from,
                                      .image = body->image,
                                      .format = body->format,
                                      .labels = *labels,
                                      .allowed_clients = *clients,
                                      .origin = &request->origin,
                                      .read_only = body->read_only.value,
                                      .discard_unflushed = body->discard_unflushed.value,
                                      .create = body->size.given,
                                      .size_bytes = body->size.value,
                                      .created = device_body_created(body),
                                      .overlay = device_body_overlay(body)};
    return 0;
}

/* ---- handlers ---- */

void device_create(struct service *service, const struct request *request, struct reply *reply)
{
    struct problem problem = {0};
    const struct device_body *body = request->fields;
    struct device_request wanted;
    enum device_part part;
    CLEANUP_FREE char *labels = NULL, *clients = NULL;
    if (device_request_decode(service, request, &wanted, &labels, &clients, &problem) != 0) {
        reply_problem(reply, &problem);
        return;
    }
    CLEANUP_BY(device_view_clear) struct device_view view = {0};
    if (devices_add(service, &wanted, &view, &part, &problem.err) != 0) {
        if (part == DEVICE_PART_ITSELF)
            device_problem_locate(service, request, body, &problem);
        else
            device_problem_locate_from(&wanted.from, part, &problem);
        reply_problem(reply, &problem);
        return;
    }
    reply_created(reply, "/devices", body->name, device_encode(service, &view));
    reply_tag_row(reply, view.row.id, view.row.revision, reply->body);
}

/* Replies with an error of a call whose path names the device. */
static void reply_device_error(struct reply *reply, const struct request *request,
                               const struct err *err)
{
    struct problem problem = {.err = *err, .device = request->argument};
    reply_problem(reply, &problem);
}

static char *device_print(const struct service *service, const struct device_view *view)
{
    struct cJSON *json = device_encode(service, view);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    return text;
}

void device_get(struct service *service, const struct request *request, struct reply *reply)
{
    struct err err;
    struct device_text text;
    if (device_cache_get(service, request->argument, device_print, &text, &err) != 0) {
        reply_device_error(reply, request, &err);
        return;
    }
    reply_text(reply, "application/json", text.text, text.bytes);
    reply_tag_row(reply, text.id, text.revision, reply->body);
}

static int device_detach_decode(const struct request *request, struct device_detach *how,
                                struct problem *problem)
{
    const struct detach_body *body = request->fields;
    const char *files = request_parameter(request, "files");
    *how = (struct device_detach){body->discard_unflushed.value,
                                  files && strcmp(files, "delete") == 0};
    if (files && !how->deletes_top && strcmp(files, "keep") != 0)
        return err_set(&problem->err, ErrInvalidParameter, 0,
                       "query parameter 'files' must be delete or keep");
    return how->deletes_top && how->discard_unflushed
               ? err_set(&problem->err, ErrInvalidParameter, 0,
                         "query parameter 'files' cannot be delete beside 'discard_unflushed'")
               : 0;
}

void device_delete(struct service *service, const struct request *request, struct reply *reply)
{
    struct problem problem = {.device = request->argument};
    struct device_detach how;
    struct condition condition;
    if (device_detach_decode(request, &how, &problem) != 0 ||
        devices_remove(service, request->argument, &how, &request->origin,
                       request_condition(request, &condition), &problem.err) != 0)
        reply_problem(reply, &problem);
    else
        reply_nothing(reply);
}

/* Consumes the page. Its text is long: it is copied once, to where it stays. */
static void reply_device_page(struct reply *reply, const struct list_query *query,
                              struct device_page *page)
{
    static const char head[] = "{\"items\":[";
    const char *quote = page->has_more ? "\"" : "";
    char cursor[LIST_CURSOR_BYTES], tail[LIST_CURSOR_BYTES + sizeof("],\"next\":\"\"}")];
    list_cursor_format(query, page->last, cursor);
    int tail_bytes = snprintf(tail, sizeof(tail), "],\"next\":%s%s%s}", quote,
                              page->has_more ? cursor : "null", quote);
    size_t bytes = sizeof(head) - 1 + page->bytes + (size_t)tail_bytes;
    char *text = malloc(bytes + 1);
    if (text) {
        char *at = mempcpy(text, head, sizeof(head) - 1);
        at = mempcpy(at, page->text, page->bytes);
        memcpy(at, tail, (size_t)tail_bytes + 1);
    }
    free(page->text);
    if (text) {
        reply_text(reply, "application/json", text, bytes);
        reply_tag(reply);
        return;
    }
    struct err err;
    err_set(&err, ErrOutOfResources, 0, "there is no memory for the list");
    reply_error(reply, &err);
}

static void device_filter_clear(struct device_filter *filter)
{
    for (size_t i = 0; i < filter->label_count; i++)
        free(filter->labels[i]);
}

/* As JSON has it within an object; heap, NULL without memory. */
static char *label_print(const char *key, const char *value)
{
    char *text = NULL;
    struct cJSON *json = cJSON_CreateObject();
    encode_text(json, key, value);
    CLEANUP_FREE char *whole = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (whole && strlen(whole) > 2)
        text = strndup(whole + 1, strlen(whole) - 2);
    return text;
}

static int device_filter_decode(const struct request *request, const struct list_query *query,
                                struct device_filter *filter, struct err *err)
{
    static_assert(LIST_LABELS_MAX <= DEVICE_FILTER_LABELS_MAX, "a filter takes every label");
    const char *state = request_parameter(request, "state");
    filter->name = request_parameter(request, "name");
    filter->has_state = state != NULL;
    filter->is_failed = state && strcmp(state, "failed") == 0;
    if (state && !filter->is_failed && strcmp(state, "online") != 0)
        return err_set(err, ErrInvalidParameter, 0,
                       "query parameter 'state' must be online or failed");
    for (size_t i = 0; i < query->label_count; i++) {
        filter->labels[i] = label_print(query->labels[i].key, query->labels[i].value);
        if (!filter->labels[i])
            return err_set(err, ErrOutOfResources, 0, "there is no memory for the list");
        filter->label_count = i + 1;
    }
    return 0;
}

/* The name that the page begins after, or NULL. */
static int device_position(const struct list_query *query, const char **after, struct err *err)
{
    *after = *query->position ? query->position : NULL;
    return !*after || name_is_valid(*after, DEVICE_NAME_MAX) ? 0 : list_cursor_refuse(err);
}

void device_list(struct service *service, const struct request *request, struct reply *reply)
{
    struct err err;
    struct list_query query;
    CLEANUP_BY(device_filter_clear) struct device_filter filter = {0};
    struct device_page page;
    const char *after;
    if (list_query_parse(request, &query, &err) != 0 ||
        device_filter_decode(request, &query, &filter, &err) != 0 ||
        device_position(&query, &after, &err) != 0 ||
        device_cache_list(service, &filter, after, query.limit, device_print, &page, &err) != 0)
        reply_error(reply, &err);
    else
        reply_device_page(reply, &query, &page);
}
