/* SPDX-License-Identifier: Apache-2.0
 *
 * See rebuild.h. What a POST answers is what a GET shows, of a group also after its deletion has
 * begun, or the `error` of an attempt that is kept. 202 of a group that is cut is interim.
 */
#include "service/http/rebuild.h"

#include "service/context.h"
#include "service/http/encode.h"
#include "service/http/group-encode.h"
#include "service/http/job-encode.h"
#include "service/http/reply.h"
#include "service/http/routes.h"
#include "store/devices.h"
#include "store/groups.h"

#include <string.h>

static enum rebuilt rebuild_pending(struct reply *reply, const struct err *err)
{
    reply_error(reply, err);
    return REBUILT_PENDING;
}

/* What the GET of `name` shows, and its tag, as created. */
static enum rebuilt rebuild_created(struct service *service, const struct request *request,
                                    void (*get)(struct service *, const struct request *,
                                                struct reply *),
                                    const char *prefix, const char *name, struct reply *reply)
{
    struct request asked = *request;
    asked.method = "GET";
    asked.argument = name;
    get(service, &asked, reply);
    if (reply->status != 200)
        return reply->status == 404 ? REBUILT_NOTHING : REBUILT_PENDING;
    char tag[REPLY_TAG_BYTES];
    size_t bytes = reply->body_bytes;
    strcpy(tag, reply->tag);
    reply_text(reply, "application/json", steal(reply->body), bytes); /* without GET's header */
    reply->status = 201;
    reply_header_add(reply, "Location", "%s/%s", prefix, name);
    reply_header_add(reply, "ETag", "\"%s\"", tag);
    return REBUILT_ANSWER;
}

/* The `error` that the GET of an aborted group shows. */
static enum rebuilt rebuild_refused(struct service *service, const struct request *request,
                                    const char *id, struct reply *reply)
{
    enum rebuilt rebuilt =
        rebuild_created(service, request, snapshot_group_get, "/snapshot-groups", id, reply);
    if (rebuilt != REBUILT_ANSWER)
        return rebuilt;
    struct cJSON *group = cJSON_Parse(reply->body);
    struct cJSON *error = cJSON_DetachItemFromObjectCaseSensitive(group, "error");
    cJSON_Delete(group);
    reply_kept_problem(reply, error);
    return REBUILT_ANSWER;
}

static enum rebuilt rebuild_group(struct service *service, const struct request *request,
                                  const char *id, struct reply *reply)
{
    struct err err;
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    if (store_group_get(service->store, id, &row, &err) != 0)
        return err.code == ErrGroupNotFound ? REBUILT_NOTHING : rebuild_pending(reply, &err);
    if (row.state == GROUP_COMMITTED || row.state == GROUP_DELETING || row.state == GROUP_DELETED)
        return rebuild_created(service, request, snapshot_group_get, "/snapshot-groups", id, reply);
    if (row.state == GROUP_ABORTED)
        return rebuild_refused(service, request, id, reply);
    if (group_row_is_cut(&row)) {
        reply_made(reply, 202, "/snapshot-groups", row.id, group_encode(service, &row, NULL));
        reply->is_interim = true;
        return REBUILT_ANSWER;
    }
    err_set(&err, ErrIdempotencyInProgress, 0, "group '%s' is %s; try again", row.name,
            group_row_state_name(&row));
    return rebuild_pending(reply, &err);
}

static enum rebuilt rebuild_device(struct service *service, const struct request *request,
                                   const char *id, struct reply *reply)
{
    struct err err;
    CLEANUP_BY(device_row_clear) struct device_row row = {0};
    if (store_device_get_by_id(service->store, id, &row, &err) != 0)
        return err.code == ErrDeviceNotFound ? REBUILT_NOTHING : rebuild_pending(reply, &err);
    if (row.state == DEVICE_ROW_ATTACHED)
        return rebuild_created(service, request, device_get, "/devices", row.name, reply);
    err_set(&err, ErrIdempotencyInProgress, 0, "device '%s' is being created or removed; try again",
            row.name);
    return rebuild_pending(reply, &err);
}

/* The job as it is now. */
static enum rebuilt rebuild_job(struct service *service, const char *id, struct reply *reply)
{
    struct err err;
    CLEANUP_BY(job_row_clear) struct job_row row = {0};
    int found = store_job_get(service->store, id, &row, &err);
    if (found <= 0)
        return found == 0 ? REBUILT_NOTHING : rebuild_pending(reply, &err);
    reply_made(reply, 202, "/jobs", row.id, job_encode(&row));
    return REBUILT_ANSWER;
}

enum rebuilt rebuild_answer(struct service *service, const struct request *request,
                            const char *kind, const char *id, struct reply *reply)
{
    if (kind && strcmp(kind, "group") == 0)
        return rebuild_group(service, request, id, reply);
    if (kind && strcmp(kind, "device") == 0)
        return rebuild_device(service, request, id, reply);
    if (kind && strcmp(kind, "job") == 0)
        return rebuild_job(service, id, reply);
    if (kind && strcmp(kind, "token") == 0) /* without its secret */
        return rebuild_created(service, request, token_get, "/tokens", id, reply);
    return REBUILT_NOTHING;
}
