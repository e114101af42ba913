/* SPDX-License-Identifier: Apache-2.0
 *
 * /snapshot-groups/{id}/holds/{name}: calls holds.c, and shows the group.
 */
#include "service/http/routes.h"

#include "service/holds.h"
#include "service/http/condition.h"
#include "service/http/group-encode.h"

void snapshot_group_hold(struct service *service, const struct request *request,
                         struct reply *reply)
{
    struct err err;
    struct condition condition;
    CLEANUP_BY(group_row_clear) struct group_row row = {0};
    bool is_new;
    if (group_hold(service, request->argument, request->second_argument,
                   request_condition(request, &condition), &request->origin, &row, &is_new,
                   &err) != 0) {
        reply_error(reply, &err);
        return;
    }
    char path[GROUP_PATH_BYTES];
    reply_json(reply, is_new ? 201 : 200, group_encode(service, &row, NULL));
    group_path(&row, path);
    if (is_new)
        reply_header_add(reply, "Location", "%s/holds/%s", path, request->second_argument);
    reply_header_add(reply, "Content-Location", "%s", path);
    reply_tag_row(reply, row.id, row.revision, reply->body);
}

void snapshot_group_release(struct service *service, const struct request *request,
                            struct reply *reply)
{
    struct err err;
    struct condition condition;
    if (group_release(service, request->argument, request->second_argument,
                      request_condition(request, &condition), &request->origin, &err) != 0)
        reply_error(reply, &err);
    else
        reply_nothing(reply);
}
