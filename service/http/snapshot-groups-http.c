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
#include "service/http/merge-patch.h"
#include "service/names.h"
#include "service/snapshot-groups.h"

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
    CLEANUP_FREE enum member_readiness *known =
        status == 201 ? readiness_when_committed(row) : NULL;
    reply_made(reply, status, "/snapshot-groups", row->id, group_encode(service, row, known));
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

/* Replies with the group as it is now, which goes on. If it has ended meanwhile: as created. */
static void group_reply_cut(struct service *service, const char *id, struct reply *reply)
{
    struct err err;
    CLEANUP_BY(group_row_clear) struct group_row now = {0};
    if (snapshot_groups_get(service, id, &now, &err) != 0) {
        reply_error(reply, &err);
    } else if (now.state == GROUP_COMMITTED) {
        group_reply_created(service, &now, reply);
    } else {
        group_reply(service, 202, &now, reply);
        reply->is_interim = true;
    }
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

/* Says what the reply has applied. */
static void preference_apply(const struct preference *preference, struct reply *reply)
{
    if (!preference->is_async || (reply->status != 201 && reply->status != 202))
        return;
    if (preference->has_wait)
        reply_header_add(reply, "Preference-Applied", "%swait=%u",
                         reply->status == 202 ? "respond-async, " : "", preference->wait_s);
    else if (reply->status == 202)
        reply_header_add(reply, "Preference-Applied", "respond-async");
}

/* The group was not taken. `row`: what is known of the attempt; NULL: there was none. */
static void group_reply_failed(struct service *service, const struct snapshot_group_request *wanted,
                               const struct group_row *row, struct problem *problem,
                               struct reply *reply)
{
    char instance[GROUP_PATH_BYTES];
    bool is_kept = row && !wanted->is_dry_run &&
                   (row->has_error_member || problem->err.code == ErrDeadlineExceeded);
    if (is_kept)
        problem->instance = group_path(row, instance);
    if (row && row->has_error_member)
        group_problem(row, problem);
    else
        group_problem_locate(service, wanted, problem);
    reply_problem(reply, problem);
}

static void snapshot_group_take_and_reply(struct service *service, const struct request *request,
                                          const struct group_wanted *wanted, struct reply *reply)
{
    struct problem problem = {0};
    const struct group_row *row = NULL;
    const struct preference preference = group_preference(request, &wanted->request);
    const struct group_wait wait = {wanted->deadline_ms, wanted->settle_ms,
                                    preference.is_async ? (int64_t)preference.wait_s
                                                        : GROUP_WAIT_FOREVER};
    CLEANUP(group_run)
    struct group_run *run =
        group_run_start(service->group_runs, &wanted->request, &wait, &problem.err);
    switch (run ? group_run_await(run, &row, &problem.err) : GROUP_AWAITED_FAILED) {
    case GROUP_AWAITED_END:
        if (wanted->request.is_dry_run)
            reply_json(reply, 200, plan_encode(&wanted->request, row));
        else
            group_reply_created(service, row, reply);
        break;
    case GROUP_AWAITED_RECORD:
        group_reply(service, 202, row, reply);
        break;
    case GROUP_AWAITED_CUT:
        group_reply_cut(service, row->id, reply);
        break;
    case GROUP_AWAITED_FAILED:
        group_reply_failed(service, &wanted->request, row, &problem, reply);
        break;
    }
    preference_apply(&preference, reply);
}

void snapshot_group_create(struct service *service, const struct request *request,
                           struct reply *reply)
{
    struct problem problem = {0};
    CLEANUP_BY(group_wanted_clear) struct group_wanted wanted = {0};
    if (group_body_decode(service, request, &wanted, &problem) == 0)
        snapshot_group_take_and_reply(service, request, &wanted, reply);
    else
        reply_problem(reply, &problem);
}

void rollback_create(struct service *service, const struct request *request, struct reply *reply)
{
    struct problem problem = {0};
    CLEANUP_BY(group_wanted_clear) struct group_wanted wanted = {0};
    if (rollback_body_decode(service, request, &wanted, &problem) == 0)
        snapshot_group_take_and_reply(service, request, &wanted, reply);
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
