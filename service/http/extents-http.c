/* SPDX-License-Identifier: Apache-2.0
 *
 * /snapshot-groups/{id}/members/{device}/extents: decodes requests, calls extents.c, encodes pages.
 *
 * Unlike other lists its cursor is no secret: it is the offset where the page begins.
 */
#include "service/http/routes.h"

#include "service/context.h"
#include "service/extents.h"
#include "service/http/condition.h"
#include "service/http/encode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LIMIT_DEFAULT = 1000,
    ITEM_BYTES = 512, /* of the reply's tree: four nodes, their names and numbers */
};

static int request_offset(const struct request *request, uint64_t *offset, struct err *err)
{
    const char *text = request_parameter(request, "cursor");
    *offset = 0;
    if (!text)
        return 0;
    size_t digits = strspn(text, "0123456789");
    *offset = strtoull(text, NULL, 10);
    if (digits > 0 && digits <= 16 && text[digits] == '\0' && *offset <= DEVICE_SIZE_MAX_BYTES)
        return 0;
    return err_set(err, ErrInvalidParameter, 0,
                   "query parameter 'cursor' must be a value of 'next' of this list: an offset in "
                   "bytes");
}

static void reply_page(struct reply *reply, const struct extents_page *page)
{
    char next[24];
    struct cJSON *json = cJSON_CreateObject();
    struct cJSON *items = encode_array(json, "items");
    for (size_t i = 0; i < page->count; i++) {
        struct cJSON *item = encode_item(items);
        encode_number(item, "offset_bytes", page->items[i].offset);
        encode_number(item, "length_bytes", page->items[i].length);
        encode_bool(item, "zero", page->items[i].is_zero);
    }
    encode_number(json, "size_bytes", page->size_bytes);
    encode_number(json, "granularity_bytes", page->granularity_bytes);
    snprintf(next, sizeof(next), "%" PRIu64, page->next);
    encode_text(json, "next", page->next < page->size_bytes ? next : NULL);
    reply_json(reply, 200, json);
    reply_tag(reply);
}

void extent_list(struct service *service, const struct request *request, struct reply *reply)
{
    struct err err;
    struct extents_request wanted = {.group = request->argument,
                                     .device = request->second_argument,
                                     .since = request_parameter(request, "since")};
    CLEANUP_BY(extents_page_clear) struct extents_page page = {0};
    CLEANUP_BY(memory_release) struct memory_share tree = {.memory = &service->memory};
    if (request_limit_of(request, LIMIT_DEFAULT, EXTENT_ITEMS_MAX, &wanted.limit, &err) != 0 ||
        request_offset(request, &wanted.offset, &err) != 0 ||
        extents_get(service, &wanted, &page, &err) != 0 ||
        memory_take(&tree, page.count * ITEM_BYTES, &err) != 0)
        reply_error(reply, &err);
    else
        reply_page(reply, &page);
}
