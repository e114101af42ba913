/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-body.h.
 */
#include "service/http/group-body.h"

#include "service/context.h"
#include "service/group-runs.h"
#include "service/http/decode.h"
#include "service/http/routes.h"
#include "service/names.h"

#include <stdio.h>

struct group_body {
    const char *name;
    const struct cJSON *devices, *selector, *labels;
    struct decode_number deadline_ms, settle_ms;
};

static const struct decode_field group_fields[] = {
    {"name", DECODE_TEXT, false, offsetof(struct group_body, name), GROUP_NAME_MAX},
    {"devices", DECODE_ARRAY, false, offsetof(struct group_body, devices), 0},
    {"selector", DECODE_OBJECT, false, offsetof(struct group_body, selector), 0},
    {"labels", DECODE_OBJECT, false, offsetof(struct group_body, labels), 0},
    {"deadline_ms", DECODE_NUMBER, false, offsetof(struct group_body, deadline_ms), 0},
    {"settle_ms", DECODE_NUMBER, false, offsetof(struct group_body, settle_ms), 0},
};

struct rollback_body {
    const char *name;
    struct decode_bool disconnect;
    const struct cJSON *labels;
    struct decode_number deadline_ms, settle_ms;
};

static const struct decode_field rollback_fields[] = {
    {"name", DECODE_TEXT, false, offsetof(struct rollback_body, name), GROUP_NAME_MAX},
    {"disconnect", DECODE_BOOL, false, offsetof(struct rollback_body, disconnect), 0},
    {"labels", DECODE_OBJECT, false, offsetof(struct rollback_body, labels), 0},
    {"deadline_ms", DECODE_NUMBER, false, offsetof(struct rollback_body, deadline_ms), 0},
    {"settle_ms", DECODE_NUMBER, false, offsetof(struct rollback_body, settle_ms), 0},
};

static const struct decode_field member_fields[] = {
    {"device", DECODE_TEXT, true, offsetof(struct group_member, device), DEVICE_NAME_MAX},
    {"snapshot_file", DECODE_TEXT, false, offsetof(struct group_member, snapshot_file),
     PATH_BYTES_MAX},
    {"format", DECODE_TEXT, false, offsetof(struct group_member, format), DECODE_FORMAT_MAX_BYTES},
};

struct selector {
    const struct cJSON *labels;
};

static const struct decode_field selector_fields[] = {
    {"labels", DECODE_OBJECT, true, offsetof(struct selector, labels), 0},
};

const struct decode_table snapshot_group_create_body =
    DECODE_TABLE(struct group_body, group_fields, true);
const struct decode_table rollback_create_body =
    DECODE_TABLE(struct rollback_body, rollback_fields, false);
static const struct decode_table member_table =
    DECODE_TABLE(struct group_member, member_fields, true);
static const struct decode_table selector_table =
    DECODE_TABLE(struct selector, selector_fields, true);

void group_wanted_clear(struct group_wanted *wanted)
{
    device_rows_free(wanted->selected, wanted->selected_count);
    group_row_clear(&wanted->target);
    free(wanted->bases);
    free(wanted->members);
    free(wanted->selector);
    free(wanted->labels);
    *wanted = (struct group_wanted){0};
}

static int members_check_source(const struct group_body *body, struct problem *problem)
{
    if (body->devices && body->selector) {
        err_set(&problem->err, ErrInvalidValue, 0, "give 'devices' or 'selector', not both");
        return problem_point(problem, "/selector");
    }
    if (!body->devices && !body->selector) {
        err_set(&problem->err, ErrMissingField, 0,
                "field 'devices' is missing, and so is 'selector'");
        return problem_point(problem, "/devices");
    }
    return 0;
}

static int name_decode(const char *name, struct group_wanted *wanted, struct problem *problem)
{
    wanted->request.name = name;
    if (name && (!name_is_valid(name, GROUP_NAME_MAX) || id_is_valid(name))) {
        err_set(&problem->err, ErrInvalidValue, 0,
                "a group's name has 1 to %d of the characters A-Z a-z 0-9 . _ -, begins with a "
                "letter or digit and is no UUID",
                GROUP_NAME_MAX);
        return problem_point(problem, "/name");
    }
    return 0;
}

static int deadline_decode(const struct decode_number *deadline_ms, struct group_wanted *wanted,
                           struct problem *problem)
{
    wanted->deadline_ms = deadline_ms->given ? deadline_ms->value : GROUP_DEADLINE_DEFAULT_MS;
    if (wanted->deadline_ms < 1 || wanted->deadline_ms > GROUP_DEADLINE_MAX_MS) {
        err_set(&problem->err, ErrInvalidValue, 0, "deadline_ms must be from 1 to %d",
                GROUP_DEADLINE_MAX_MS);
        return problem_point(problem, "/deadline_ms");
    }
    return 0;
}

static int settle_decode(const struct decode_number *settle_ms, struct group_wanted *wanted,
                         struct problem *problem)
{
    wanted->settle_ms = settle_ms->given ? settle_ms->value : GROUP_SETTLE_DEFAULT_MS;
    if (wanted->settle_ms > GROUP_SETTLE_MAX_MS) {
        err_set(&problem->err, ErrInvalidValue, 0, "settle_ms must be from 0 to %d",
                GROUP_SETTLE_MAX_MS);
        return problem_point(problem, "/settle_ms");
    }
    return 0;
}

static int labels_decode(const struct cJSON *labels, struct group_wanted *wanted,
                         struct problem *problem)
{
    wanted->labels = decode_labels(labels, "/labels", problem);
    wanted->request.labels = wanted->labels;
    return wanted->labels ? 0 : -1;
}

static int origin_decode(const struct request *request, struct group_wanted *wanted,
                         struct problem *problem)
{
    wanted->request.origin = &request->origin;
    return request_flag(request, "dry_run", &wanted->request.is_dry_run, &problem->err);
}

static int members_allocate(struct group_wanted *wanted, size_t count, struct problem *problem)
{
    wanted->members = calloc(count + 1, sizeof(*wanted->members));
    wanted->request.members = wanted->members;
    wanted->request.count = count;
    return wanted->members
               ? 0
               : err_set(&problem->err, ErrOutOfResources, 0, "there is no memory for the group");
}

static int members_decode(const struct cJSON *devices, struct group_wanted *wanted,
                          struct problem *problem)
{
    const struct cJSON *item;
    size_t count = (size_t)cJSON_GetArraySize(devices), position = 0;
    if (count > GROUP_MEMBERS_MAX) {
        err_set(&problem->err, ErrInvalidValue, 0, "a group has at most %d members, not %zu",
                GROUP_MEMBERS_MAX, count);
        return problem_point(problem, "/devices");
    }
    if (members_allocate(wanted, count, problem) != 0)
        return -1;
    cJSON_ArrayForEach(item, devices)
    {
        char pointer[40];
        snprintf(pointer, sizeof(pointer), "/devices/%zu", position);
        if (decode_object(item, pointer, &member_table, &wanted->members[position], problem) != 0)
            return -1;
        position++;
    }
    return 0;
}

/* A selector without labels would match every disk, which nobody means. */
static int selector_decode(const struct cJSON *json, struct group_wanted *wanted,
                           struct problem *problem)
{
    struct selector selector = {0};
    if (decode_object(json, "/selector", &selector_table, &selector, problem) != 0)
        return -1;
    if (cJSON_GetArraySize(selector.labels) == 0) {
        err_set(&problem->err, ErrInvalidValue, 0, "a selector has at least one label");
        return problem_point(problem, "/selector/labels");
    }
    wanted->selector = decode_labels(selector.labels, "/selector/labels", problem);
    wanted->request.selector = wanted->selector;
    return wanted->selector ? 0 : -1;
}

static int members_select(struct service *service, struct group_wanted *wanted,
                          struct problem *problem)
{
    struct err *err = &problem->err;
    if (store_device_select(service->store, wanted->selector, GROUP_MEMBERS_MAX + 1,
                            &wanted->selected, &wanted->selected_count, err) != 0)
        return -1;
    size_t count = wanted->selected_count;
    if (count == 0)
        err_set(err, ErrEmptyGroup, 0, "no device has these labels");
    else if (count > GROUP_MEMBERS_MAX)
        err_set(err, ErrInvalidValue, 0,
                "more than %d devices have these labels; a group has at most so many members",
                GROUP_MEMBERS_MAX);
    if (count == 0 || count > GROUP_MEMBERS_MAX)
        return problem_point(problem, "/selector");
    if (members_allocate(wanted, count, problem) != 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        wanted->members[i].device = wanted->selected[i].name;
    return 0;
}

int group_body_decode(struct service *service, const struct request *request,
                      struct group_wanted *wanted, struct problem *problem)
{
    const struct group_body *body = request->fields;
    if (origin_decode(request, wanted, problem) != 0 ||
        name_decode(body->name, wanted, problem) != 0 ||
        deadline_decode(&body->deadline_ms, wanted, problem) != 0 ||
        settle_decode(&body->settle_ms, wanted, problem) != 0 ||
        members_check_source(body, problem) != 0 ||
        labels_decode(body->labels, wanted, problem) != 0)
        return -1;
    if (body->devices)
        return members_decode(body->devices, wanted, problem);
    return selector_decode(body->selector, wanted, problem) == 0
               ? members_select(service, wanted, problem)
               : -1;
}

/* ---- rollback ---- */

/* Each member goes back to the image that the target has frozen. */
static int target_decode(struct service *service, const char *id_or_name, bool disconnects,
                         struct group_wanted *wanted, struct problem *problem)
{
    struct group_row *target = &wanted->target;
    if (snapshot_groups_get_committed(service, id_or_name, target, &problem->err) != 0 ||
        members_allocate(wanted, target->member_count, problem) != 0)
        return -1;
    wanted->bases = calloc(target->member_count + 1, sizeof(*wanted->bases));
    if (!wanted->bases)
        return err_set(&problem->err, ErrOutOfResources, 0, "there is no memory for the group");
    wanted->request.rolled_back_to = target->id;
    for (size_t i = 0; i < target->member_count; i++) {
        const struct member_row *member = &target->members[i];
        wanted->bases[i] = (struct group_base){
            .image = member->backing_image ? member->backing_image : member->backing_file,
            .format = member->backing_format,
            .identity = member->backing_identity,
            .disconnects = disconnects,
        };
        wanted->members[i].device = member->device;
        wanted->members[i].base = &wanted->bases[i];
    }
    return 0;
}

int rollback_body_decode(struct service *service, const struct request *request,
                         struct group_wanted *wanted, struct problem *problem)
{
    const struct rollback_body *body = request->fields;
    if (origin_decode(request, wanted, problem) != 0 ||
        name_decode(body->name, wanted, problem) != 0 ||
        deadline_decode(&body->deadline_ms, wanted, problem) != 0 ||
        settle_decode(&body->settle_ms, wanted, problem) != 0 ||
        labels_decode(body->labels, wanted, problem) != 0)
        return -1;
    return target_decode(service, request->argument, body->disconnect.value, wanted, problem);
}
