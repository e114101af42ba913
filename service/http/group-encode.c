/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-encode.h.
 */
#include "service/http/group-encode.h"

#include "service/context.h"
#include "service/http/encode.h"
#include "service/open-cuts.h"

#include <stdio.h>

const char *group_path(const struct group_row *row, char path[GROUP_PATH_BYTES])
{
    snprintf(path, GROUP_PATH_BYTES, "/snapshot-groups/%s", row->id);
    return path;
}

/* Points at what the request says of the member. */
static void problem_point_member(const struct group_row *row, size_t member,
                                 struct problem *problem)
{
    switch (row->error_code) {
    case ErrOpenFileFailed:
        problem->snapshot_file = row->members[member].snapshot_file;
        problem_point(problem, "/devices/%zu/snapshot_file", member);
        break;
    case ErrInvalidBlockFormat:
        problem->snapshot_file = row->members[member].snapshot_file;
        problem_point(problem, "/devices/%zu/format", member);
        break;
    default:
        problem_point(problem, "/devices/%zu", member);
        break;
    }
}

void group_problem(const struct group_row *row, struct problem *problem)
{
    size_t member = row->error_member;
    problem->err.code = row->error_code;
    problem->err.errnum = row->error_errnum;
    snprintf(problem->err.message, sizeof(problem->err.message), "%s",
             row->error_message ? row->error_message : "");
    if (!row->has_error_member || member >= row->member_count)
        return;
    problem->device = row->members[member].device;
    if (row->kind == GROUP_KIND_ROLLBACK) /* the request does not name the member */
        return;
    if (row->selector) /* likewise */
        problem_point(problem, "/selector");
    else
        problem_point_member(row, member, problem);
}

static void encode_optional(struct cJSON *json, const char *name, bool given, uint64_t value)
{
    if (given)
        encode_number(json, name, value);
    else
        encode_null(json, name);
}

static void encode_readiness(struct cJSON *item, enum member_readiness readiness)
{
    if (readiness == MEMBER_UNKNOWN)
        encode_null(item, "ready_to_use");
    else
        encode_bool(item, "ready_to_use", readiness == MEMBER_READY);
}

/* A member is cut with its group, and committed with it or before. */
static void encode_member_state(struct cJSON *item, const struct group_row *row,
                                const struct member_row *member,
                                const struct group_member_wait *wait)
{
    bool is_cut = group_row_is_cut(row);
    bool is_committed = row->state == GROUP_COMMITTED || (is_cut && member->is_settled);
    encode_text(item, "state", is_committed ? "committed" : is_cut ? "cut" : NULL);
    if (is_committed || !is_cut || !wait || !wait->is_waiting) {
        encode_null(item, "waiting_for");
        return;
    }
    struct cJSON *waiting = encode_object(item, "waiting_for");
    encode_number(waiting, "changes", wait->changes);
    encode_optional(waiting, "oldest_ms", wait->changes > 0, wait->since_cut_us / 1000);
    encode_bool(waiting, "flush", wait->is_flushing);
}

/* What the members wait for; NULL: nothing, or it is not known. */
static struct group_member_wait *members_wait(struct service *service, const struct group_row *row)
{
    if (!group_row_is_cut(row))
        return NULL;
    struct group_member_wait *waits = calloc(row->member_count + 1, sizeof(*waits));
    if (waits)
        open_cuts_wait(service, row->id, waits, row->member_count);
    return waits;
}

static void encode_members(struct service *service, struct cJSON *json, const struct group_row *row,
                           const enum member_readiness *known)
{
    struct cJSON *members = encode_array(json, "members");
    CLEANUP_FREE struct group_member_wait *waits = members_wait(service, row);
    CLEANUP_FREE enum member_readiness *own =
        known ? NULL : readiness_list(service->readiness, row, 1);
    known = known ? known : own;
    for (size_t i = 0; i < row->member_count; i++) {
        const struct member_row *member = &row->members[i];
        struct cJSON *item = encode_item(members);
        encode_text(item, "device", member->device);
        encode_text(item, "backing_file", member->backing_file);
        encode_text(item, "base_file", member->base_file);
        encode_text(item, "snapshot_file", member->snapshot_file);
        encode_text(item, "format", member->format);
        encode_optional(item, "size_bytes", member->has_size, member->size_bytes);
        encode_readiness(item, known ? known[i] : MEMBER_UNKNOWN);
        encode_optional(item, "pause_us", member->has_pause, member->pause_us);
        encode_optional(item, "copy_wait_us", member->has_copy_wait, member->copy_wait_us);
        encode_member_state(item, row, member, waits ? &waits[i] : NULL);
        if (member->clones)
            encode_json(item, "clones", member->clones);
        else
            encode_array(item, "clones");
    }
}

/* A cut alone is as a power loss at that instant. */
static void encode_consistency(struct cJSON *json, const struct group_row *row)
{
    struct cJSON *consistency = encode_object(json, "consistency");
    encode_text(consistency, "requested", "crash");
    bool is_cut = row->state == GROUP_COMMITTED || group_row_is_cut(row);
    encode_text(consistency, "achieved", is_cut ? "crash" : NULL);
}

static void encode_error(struct cJSON *json, const struct group_row *row)
{
    char instance[GROUP_PATH_BYTES];
    struct problem problem = {.instance = group_path(row, instance)};
    group_problem(row, &problem);
    cJSON_AddItemToObject(json, "error", problem_encode(&problem));
}

struct cJSON *group_encode(struct service *service, const struct group_row *row,
                           const enum member_readiness *known)
{
    struct cJSON *json = cJSON_CreateObject();
    encode_text(json, "id", row->id);
    encode_text(json, "name", row->name);
    encode_text(json, "kind", group_kind_name(row->kind));
    encode_text(json, "rolled_back_to", row->rolled_back_to);
    encode_text(json, "state", group_row_state_name(row));
    encode_time(json, "created_at", row->created_at_us);
    if (row->has_cut)
        encode_time(json, "cut_at", row->cut_at_us);
    else
        encode_null(json, "cut_at");
    encode_optional(json, "pause_us", row->has_cut, row->pause_us);
    encode_optional(json, "sealed_us", row->has_sealed, row->sealed_us);
    encode_optional(json, "duration_us", row->has_duration, row->duration_us);
    encode_consistency(json, row);
    encode_members(service, json, row, known);
    encode_json(json, "holds", row->holds ? row->holds : "[]");
    encode_json(json, "labels", row->labels);
    if (row->has_error)
        encode_error(json, row);
    else
        encode_null(json, "error");
    return json;
}

struct cJSON *plan_encode(const struct snapshot_group_request *wanted, const struct group_row *row)
{
    struct cJSON *json = cJSON_CreateObject();
    encode_text(json, "name", wanted->name);
    encode_text(json, "kind", group_kind_name(row->kind));
    encode_text(json, "rolled_back_to", row->rolled_back_to);
    struct cJSON *members = encode_array(json, "members");
    for (size_t i = 0; i < row->member_count; i++) {
        const struct member_row *member = &row->members[i];
        bool is_known = wanted->name || wanted->members[i].snapshot_file;
        struct cJSON *item = encode_item(members);
        encode_text(item, "device", member->device);
        encode_text(item, "backing_file", member->backing_file);
        encode_text(item, "base_file", member->base_file);
        encode_text(item, "snapshot_file", is_known ? member->snapshot_file : NULL);
        encode_text(item, "format", member->format);
        encode_optional(item, "size_bytes", member->has_size, member->size_bytes);
    }
    encode_json(json, "labels", row->labels);
    return json;
}
