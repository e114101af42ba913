/* SPDX-License-Identifier: Apache-2.0
 *
 * PATCH /devices/{name}: a merge patch (RFC 7396) of its labels (merge-patch.h), of the clients
 * that may open its exports: an array is replaced as a whole, null removes it; and of its size.
 */
#include "service/http/routes.h"

#include "service/context.h"
#include "service/device-update.h"
#include "service/devices.h"
#include "service/http/client-names.h"
#include "service/http/condition.h"
#include "service/http/device-encode.h"
#include "service/http/merge-patch.h"

struct device_patch_body {
    struct labels_patch_body labels; /* first: labels_patch_begin() reads it */
    const struct cJSON *allowed_clients;
    struct decode_number size;
};

static const struct decode_field patch_fields[] = {
    {"labels", DECODE_OBJECT_OR_NULL, false, offsetof(struct device_patch_body, labels.labels), 0},
    {"allowed_clients", DECODE_ARRAY_OR_NULL, false,
     offsetof(struct device_patch_body, allowed_clients), 0},
    {"size_bytes", DECODE_NUMBER, false, offsetof(struct device_patch_body, size), 0},
};
const struct decode_table device_patch_body =
    DECODE_TABLE(struct device_patch_body, patch_fields, true);

/* What device_apply() needs. */
struct device_patch {
    const struct service *service;
    const struct labels_change *labels;
    const struct cJSON *allowed_clients; /* NULL: they stay */
    struct problem *problem;
};

static int device_apply(void *context, struct device_row *row, struct err *err)
{
    const struct device_patch *patch = context;
    const struct cJSON *names = patch->allowed_clients;
    char *labels = patch->labels->merge(patch->labels->context, row->labels, err);
    if (!labels)
        return -1;
    free(row->labels);
    row->labels = labels;
    if (!names)
        return 0;
    free(steal(row->allowed_clients));
    if (cJSON_IsNull(names))
        return 0;
    row->allowed_clients = decode_allowed_clients(patch->service, names, patch->problem);
    if (row->allowed_clients)
        return 0;
    *err = patch->problem->err;
    return -1;
}

/* What is wrong with a size is found out by resizes.c, or by the block layer. */
static void patch_locate(const struct device_patch_body *body, struct problem *problem)
{
    if (problem->err.code == ErrInvalidValue && body->size.given && !problem->has_pointer)
        problem_point(problem, "/size_bytes");
}

static int size_check(const struct device_patch_body *body, struct err *err)
{
    return body->size.given && body->size.value == 0
               ? err_set(err, ErrInvalidValue, 0, "'size_bytes' must be from 1 to 2^53")
               : 0;
}

void device_update(struct service *service, const struct request *request, struct reply *reply)
{
    struct problem problem = {.device = request->argument};
    const struct device_patch_body *body = request->fields;
    struct labels_patch labels;
    struct device_patch patch = {.service = service,
                                 .labels = labels_patch_begin(&labels, request, &problem),
                                 .allowed_clients = body->allowed_clients,
                                 .problem = &problem};
    struct device_changes change = {.origin = &request->origin,
                                    .condition = labels.change.condition,
                                    .size_bytes = body->size.value,
                                    .context = &patch,
                                    .apply = device_apply};
    CLEANUP_BY(device_view_clear) struct device_view view = {0};
    if (size_check(body, &problem.err) != 0 ||
        devices_change(service, request->argument, &change, &view, &problem.err) != 0) {
        patch_locate(body, &problem);
        reply_problem(reply, &problem);
    } else {
        reply_device(service, reply, &view);
    }
}
