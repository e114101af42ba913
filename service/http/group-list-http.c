/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of /snapshot-groups: its filters and its pages. The other calls are in
 * snapshot-groups-http.c.
 */
#include "service/http/routes.h"

#include "service/context.h"
#include "service/http/condition.h"
#include "service/http/encode.h"
#include "service/http/group-encode.h"
#include "service/http/list.h"
#include "service/snapshot-groups.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decodes the parameter `state`. */
static int request_group_state(const struct request *request, const char **state, struct err *err)
{
    *state = request_parameter(request, "state");
    for (int i = GROUP_PREPARING; *state && i <= GROUP_DELETED; i++)
        if (strcmp(*state, group_state_name((enum group_state)i)) == 0)
            return 0;
    if (!*state || strcmp(*state, GROUP_STATE_CUT) == 0)
        return 0;
    return err_set(
        err, ErrInvalidParameter, 0,
        "query parameter 'state' must be preparing, committing, cut, committed, aborting, "
        "aborted, deleting or deleted");
}

/* Decodes the parameter `kind`. */
static int request_group_kind(const struct request *request, const char **kind, struct err *err)
{
    *kind = request_parameter(request, "kind");
    for (int i = GROUP_KIND_SNAPSHOT; *kind && i <= GROUP_KIND_ROLLBACK; i++)
        if (strcmp(*kind, group_kind_name((enum group_kind)i)) == 0)
            return 0;
    return !*kind ? 0
                  : err_set(err, ErrInvalidParameter, 0,
                            "query parameter 'kind' must be snapshot or rollback");
}

static int group_filter_decode(const struct request *request, const struct list_query *query,
                               struct group_list_filter *filter, struct err *err)
{
    static_assert(LIST_LABELS_MAX <= GROUP_FILTER_LABELS_MAX, "a filter takes every label");
    *filter = (struct group_list_filter){.name = request_parameter(request, "name"),
                                         .device = request_parameter(request, "device"),
                                         .label_count = query->label_count};
    for (size_t i = 0; i < query->label_count; i++) {
        filter->labels[i].key = query->labels[i].key;
        filter->labels[i].value = query->labels[i].value;
    }
    if (request_group_state(request, &filter->state, err) != 0 ||
        request_group_kind(request, &filter->kind, err) != 0 ||
        list_time(request, "created_after", &filter->has_created_after, &filter->created_after_us,
                  err) != 0)
        return -1;
    return list_time(request, "created_before", &filter->has_created_before,
                     &filter->created_before_us, err);
}

/* A position is the sequence number of the group before it. */
static int group_position(const struct list_query *query, uint64_t *before, struct err *err)
{
    size_t digits = strspn(query->position, "0123456789");
    *before = strtoull(query->position, NULL, 10);
    return digits <= 18 && query->position[digits] == '\0' ? 0 : list_cursor_refuse(err);
}

static void reply_group_page(struct service *service, struct reply *reply,
                             const struct list_query *query, const struct group_row *rows,
                             size_t count, uint64_t next, const enum member_readiness *known)
{
    char position[LIST_POSITION_BYTES], cursor[LIST_CURSOR_BYTES];
    struct cJSON *json = cJSON_CreateObject();
    struct cJSON *items = encode_array(json, "items");
    for (size_t i = 0; i < count; known += rows[i++].member_count)
        cJSON_AddItemToArray(items, group_encode(service, &rows[i], known));
    snprintf(position, sizeof(position), "%" PRIu64, next);
    list_cursor_format(query, position, cursor);
    encode_text(json, "next", next ? cursor : NULL);
    reply_json(reply, 200, json);
    reply_tag(reply);
}

void snapshot_group_list(struct service *service, const struct request *request,
                         struct reply *reply)
{
    struct err err;
    struct list_query query;
    struct group_list_filter filter;
    struct group_row *rows;
    size_t count;
    uint64_t before, next;
    if (list_query_parse(request, &query, &err) != 0 ||
        group_filter_decode(request, &query, &filter, &err) != 0 ||
        group_position(&query, &before, &err) != 0 ||
        snapshot_groups_list(service, &filter, before, query.limit, &rows, &count, &next, &err) !=
            0) {
        reply_error(reply, &err);
        return;
    }
    CLEANUP_FREE enum member_readiness *known = readiness_list(service->readiness, rows, count);
    if (known) {
        reply_group_page(service, reply, &query, rows, count, next, known);
    } else {
        err_set(&err, ErrOutOfResources, 0, "there is no memory for a page");
        reply_error(reply, &err);
    }
    group_rows_free(rows, count);
}
