/* SPDX-License-Identifier: Apache-2.0
 *
 * See list.h.
 */
#include "clients/cli/list.h"

#include "clients/cli/json-span.h"
#include "clients/cli/result.h"
#include "clients/cli/send.h"
#include "clients/cli/table.h"
#include "clients/cli/uri.h"
#include "clients/cli/values.h"

#include <string.h>

struct listing {
    struct call *call;
    const struct list *list;
    enum output output;
    struct table table;
    int64_t left; /* items that are wanted; INT64_MAX: all */
    unsigned pages;
    char *next;  /* cursor of the next page, or NULL */
    FILE *items; /* as JSON, of all pages so far */
    char *items_text;
    size_t items_bytes;
};

static void listing_release(struct listing *listing)
{
    if (listing->items)
        fclose(listing->items);
    free(listing->items_text);
    free(listing->next);
}

/* Writes an option that filters, as a parameter; not the cursor, once the next page has one. */
static void filter_put(const struct listing *listing, enum option option, FILE *to, unsigned *count)
{
    const char *value;
    char name[32];
    size_t at = 0;
    snprintf(name, sizeof(name), "%s", listing->call->option_rows[option].name);
    for (char *dash; (dash = strchr(name, '-'));)
        *dash = '_';
    if (listing->next && strcmp(name, listing->list->cursor) == 0)
        return;
    while ((value = call_next(listing->call, option, &at)))
        uri_parameter(to, count, name, value);
}

/* The path of the next page, which the caller frees. */
static char *page_path(const struct listing *listing)
{
    static const enum option filters[] = {
        OPTION_STATE, OPTION_KIND,          OPTION_NAME,           OPTION_DEVICE, OPTION_GROUP,
        OPTION_LABEL, OPTION_CREATED_AFTER, OPTION_CREATED_BEFORE, OPTION_SINCE,  OPTION_AFTER};
    int64_t most = listing->list->page_items_max;
    char *path = NULL, limit[24];
    size_t bytes = 0;
    unsigned count = 0;
    FILE *to = open_memstream(&path, &bytes);
    if (!to)
        return NULL;
    fputs(listing->list->path, to);
    for (size_t i = 0; i < sizeof(filters) / sizeof(*filters); i++)
        filter_put(listing, filters[i], to, &count);
    snprintf(limit, sizeof(limit), "%lld",
             (long long)(listing->left < most ? listing->left : most));
    uri_parameter(to, &count, "limit", limit);
    if (listing->next)
        uri_parameter(to, &count, listing->list->cursor, listing->next);
    fclose(to);
    return path;
}

/* Adds the items of a page to those of JSON. */
static void items_keep(struct listing *listing, const char *body)
{
    struct json_span span;
    for (const char *at = body; json_span_next(&at, &span);) {
        if (strncmp(span.key, "\"items\"", span.key_bytes) != 0 || span.value_bytes <= 2)
            continue;
        if (ftell(listing->items) > 0)
            fputc(',', listing->items);
        fwrite(span.value + 1, 1, span.value_bytes - 2, listing->items);
    }
}

/* Writes all pages as one; `body`: the last one. */
static int json_write(struct listing *listing, const struct reply *reply)
{
    CLEANUP_FREE char *whole = NULL;
    size_t bytes = 0;
    struct json_span span;
    FILE *to = listing->pages > 1 ? open_memstream(&whole, &bytes) : NULL;
    if (listing->pages == 1) {
        result_write_json(reply->body, reply->bytes);
        return 0;
    }
    if (!to)
        return fail_memory(&listing->call->failure);
    fflush(listing->items);
    fprintf(to, "{\"items\":[%s]", listing->items_text);
    for (const char *at = reply->body; json_span_next(&at, &span);)
        if (strncmp(span.key, "\"items\"", span.key_bytes) != 0)
            fprintf(to, ",%.*s:%.*s", (int)span.key_bytes, span.key, (int)span.value_bytes,
                    span.value);
    fputc('}', to);
    fclose(to);
    result_write_json(whole, bytes);
    return 0;
}

/* Shows what a page has; of JSON, keeps it. */
static int page_show(struct listing *listing, const cJSON *page, const struct reply *reply)
{
    const cJSON *item, *items = cJSON_GetObjectItemCaseSensitive(page, "items");
    if (!cJSON_IsArray(items))
        return fail(&listing->call->failure, EXIT_REFUSED,
                    "the reply is no list; is it snapgroupd?");
    listing->left -= listing->left == INT64_MAX ? 0 : cJSON_GetArraySize(items);
    if (listing->output == OUTPUT_JSON)
        items_keep(listing, reply->body);
    else if (listing->output == OUTPUT_NAME)
        cJSON_ArrayForEach(item, items) result_write_name(item, listing->list->resource);
    else if (table_write(&listing->table, items) != 0)
        return fail_memory(&listing->call->failure);
    return 0;
}

/* Keeps the cursor, if there is another page that is wanted. */
static int next_take(struct listing *listing, const cJSON *page)
{
    const cJSON *next = cJSON_GetObjectItemCaseSensitive(page, "next");
    CLEANUP_FREE char *before = steal(listing->next);
    if (listing->left <= 0 || !next || cJSON_IsNull(next))
        return 0;
    if (cJSON_IsString(next))
        listing->next = strdup(next->valuestring);
    else
        listing->next = cJSON_PrintUnformatted(next);
    if (!listing->next)
        return fail_memory(&listing->call->failure);
    if (before && strcmp(before, listing->next) == 0)
        return fail(&listing->call->failure, EXIT_REFUSED, "the list does not get on after '%s'",
                    before);
    return 0;
}

static int limit_take(struct listing *listing)
{
    const char *limit = call_option(listing->call, OPTION_LIMIT);
    listing->left = INT64_MAX;
    if (limit &&
        value_number("--limit", limit, 1, VALUE_MAX, &listing->left, &listing->call->failure) != 0)
        return -1;
    return result_output(listing->call, &listing->output);
}

int list_show(struct call *call, const struct list *list)
{
    CLEANUP_BY(listing_release) struct listing listing = {.call = call, .list = list};
    CLEANUP_REPLY struct reply reply = {0};
    if (limit_take(&listing) != 0)
        return -1;
    listing.table =
        (struct table){.resource = list->resource, .is_wide = listing.output == OUTPUT_WIDE};
    listing.items = open_memstream(&listing.items_text, &listing.items_bytes);
    if (!listing.items)
        return fail_memory(&call->failure);
    do {
        CLEANUP_FREE char *path = page_path(&listing);
        CLEANUP_JSON cJSON *page = NULL;
        if (client_get(call, path, &reply, &page) != 0)
            return -1;
        listing.pages++;
        if (page_show(&listing, page, &reply) != 0 || next_take(&listing, page) != 0)
            return -1;
    } while (listing.next && !ferror(stdout));
    return listing.output == OUTPUT_JSON ? json_write(&listing, &reply) : 0;
}

int list_show_kind(struct call *call, const char *kind, const struct resource *resource)
{
    CLEANUP_FREE char *path = uri_path(kind, NULL);
    if (!path)
        return fail_memory(&call->failure);
    return list_show(
        call, &(struct list){
                  .path = path, .cursor = "cursor", .page_items_max = 1000, .resource = resource});
}

int list_show_one(struct call *call, const char *kind, const struct resource *resource)
{
    CLEANUP_FREE char *path = uri_path(kind, call_argument(call, 0), NULL);
    CLEANUP_REPLY struct reply reply = {0};
    CLEANUP_JSON cJSON *json = NULL;
    if (client_get(call, path, &reply, &json) != 0)
        return -1;
    return result_whole(call, &reply, resource);
}
