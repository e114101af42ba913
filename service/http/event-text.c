/* SPDX-License-Identifier: Apache-2.0
 *
 * See event-text.h.
 */
#include "service/http/event-text.h"

#include "base/cleanup.h"
#include "service/http/encode.h"
#include "service/utf8.h"
#include "store/events.h"

#include <inttypes.h>
#include <stdio.h>

struct cJSON *event_encode(const struct event_row *row)
{
    struct cJSON *json = cJSON_CreateObject();
    CLEANUP_FREE char *detail = utf8_repair(row->detail);
    encode_number(json, "id", row->id);
    encode_time(json, "at", row->at_us);
    encode_text(json, "kind", event_kind_name(row->kind));
    encode_text(json, "device", row->device);
    encode_text(json, "group", row->group_id);
    encode_text(json, "job", row->job);
    encode_text(json, "actor", row->actor);
    encode_text(json, "request_id", row->request_id);
    if (detail)
        encode_json(json, "detail", detail);
    return json;
}

char *event_format(const struct event_row *row)
{
    char *text = NULL;
    struct cJSON *json = event_encode(row);
    CLEANUP_FREE char *data = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (!data || asprintf(&text, "id: %" PRIu64 "\nevent: %s\ndata: %s\n\n", row->id,
                          event_kind_name(row->kind), data) < 0)
        return NULL;
    return text;
}
