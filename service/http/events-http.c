/* SPDX-License-Identifier: Apache-2.0
 *
 * /events: decodes requests, reads the events, encodes them.
 */
#include "service/http/routes.h"

#include "service/context.h"
#include "service/event-feed.h"
#include "service/http/accept.h"
#include "service/http/condition.h"
#include "service/http/encode.h"
#include "service/http/event-text.h"
#include "service/names.h"
#include "service/snapshot-groups.h"
#include "store/events.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Decodes an event's id; `name` is for the message. */
static int event_id_parse(const char *name, const char *text, uint64_t *id, struct err *err)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 18 || text[digits])
        return err_set(err, ErrInvalidParameter, 0, "%s must be the id of an event, or 0", name);
    *id = strtoull(text, NULL, 10);
    return 0;
}

/* Whether the client names the type of a stream, and takes it. */
static bool request_wants_stream(const struct request *request)
{
    const char *types;
    for (size_t i = 0; (types = request_header(request, "Accept", i)); i++)
        if (strcasestr(types, EVENT_STREAM_TYPE))
            return request_accepts(request, EVENT_STREAM_TYPE);
    return false;
}

/* Decodes the query. `group` has room for an id: the parameter, or the id of the group of that
 * name. */
static int event_filter_decode(struct service *service, const struct request *request,
                               struct event_filter *filter, char group[STORE_ID_CHARS + 1],
                               struct err *err)
{
    const char *after = request_parameter(request, "after");
    const char *kind = request_parameter(request, "kind");
    const char *of = request_parameter(request, "group");
    const char *device = request_parameter(request, "device");
    *filter = (struct event_filter){
        .kind = EVENT_KIND_COUNT, .device = device, .group_id = of ? group : NULL};
    if (device && !name_is_valid(device, DEVICE_NAME_MAX))
        return err_set(err, ErrInvalidParameter, 0, "query parameter 'device' is no name");
    if (after && event_id_parse("query parameter 'after'", after, &filter->after, err) != 0)
        return -1;
    if (kind && (filter->kind = event_kind_from_name(kind)) == EVENT_KIND_COUNT)
        return err_set(err, ErrInvalidParameter, 0,
                       "query parameter 'kind' is none of the kinds of events in /openapi.yaml");
    if (of && id_is_valid(of)) {
        char normal[GROUP_NAME_MAX + 1];
        id_or_name_normal(of, normal);
        memcpy(group, normal, STORE_ID_CHARS + 1);
    } else if (of) {
        CLEANUP_BY(group_row_clear) struct group_row row = {0};
        if (snapshot_groups_get(service, of, &row, err) != 0)
            return -1;
        memcpy(group, row.id, STORE_ID_CHARS + 1);
    }
    return 0;
}

/* Where the stream begins: after the last event that the client had, or now. */
static int stream_begin(struct service *service, const struct request *request,
                        struct event_filter *filter, struct err *err)
{
    const char *last = request_header(request, "Last-Event-ID", 0);
    if (request_parameter(request, "limit"))
        return err_set(err, ErrInvalidParameter, 0, "a stream has no 'limit'");
    if (last && event_id_parse("Last-Event-ID", last, &filter->after, err) != 0) {
        err->code = ErrInvalidHeader;
        return -1;
    }
    return last || request_parameter(request, "after")
               ? 0
               : events_newest(service, &filter->after, err);
}

static void event_stream(struct service *service, const struct request *request,
                         struct reply *reply)
{
    struct err err;
    struct event_filter filter;
    struct subscription subscription = {0};
    if (event_filter_decode(service, request, &filter, subscription.group, &err) != 0 ||
        stream_begin(service, request, &filter, &err) != 0) {
        reply_error(reply, &err);
        return;
    }
    subscription.after = filter.after;
    subscription.kind = filter.kind;
    snprintf(subscription.device, sizeof(subscription.device), "%s",
             filter.device ? filter.device : "");
    reply_stream(reply, &subscription);
}

static struct cJSON *events_encode(const struct event_row *rows, size_t count, bool has_more)
{
    char next[24];
    struct cJSON *json = cJSON_CreateObject();
    struct cJSON *items = encode_array(json, "items");
    for (size_t i = 0; i < count; i++)
        cJSON_AddItemToArray(items, event_encode(&rows[i]));
    if (has_more)
        snprintf(next, sizeof(next), "%" PRIu64, rows[count - 1].id);
    encode_text(json, "next", has_more ? next : NULL);
    return json;
}

void event_list(struct service *service, const struct request *request, struct reply *reply)
{
    if (request_wants_stream(request)) {
        event_stream(service, request, reply);
        return;
    }
    struct err err;
    struct event_filter filter;
    struct event_row *rows;
    size_t limit, count;
    bool has_more;
    char group[STORE_ID_CHARS + 1];
    if (request_limit(request, &limit, &err) != 0 ||
        event_filter_decode(service, request, &filter, group, &err) != 0 ||
        events_list(service, &filter, limit, &rows, &count, &has_more, &err) != 0) {
        reply_error(reply, &err);
        return;
    }
    reply_json(reply, 200, events_encode(rows, count, has_more));
    event_rows_free(rows, count);
    reply_tag(reply);
}
