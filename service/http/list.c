/* SPDX-License-Identifier: Apache-2.0
 *
 * See list.h.
 */
#include "service/http/list.h"

#include "base/hash-table.h"
#include "service/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* With its end, so that "a", "bc" and "ab", "c" differ. Nobody gains by two texts with one hash. */
static uint64_t text_hash(uint64_t hash, const char *text)
{
    return hash_bytes(hash, text, strlen(text) + 1);
}

/* The order of parameters does not matter. */
static uint64_t filters_hash(const struct request *request)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < request->parameter_count; i++) {
        const struct request_parameter *given = &request->parameters[i];
        if (strcmp(given->name, "limit") != 0 && strcmp(given->name, "cursor") != 0)
            hash += text_hash(text_hash(HASH_START, given->name), given->value);
    }
    return hash;
}

void list_cursor_format(const struct list_query *query, const char *position,
                        char cursor[LIST_CURSOR_BYTES])
{
    uint64_t hash = text_hash(HASH_START ^ query->filters, position);
    snprintf(cursor, LIST_CURSOR_BYTES, "%s~%016" PRIx64, position, hash);
}

int list_cursor_refuse(struct err *err)
{
    return err_set(err, ErrInvalidParameter, 0,
                   "query parameter 'cursor' is not a value of 'next' of this list with these "
                   "filters; begin without it");
}

static int cursor_parse(const char *cursor, struct list_query *query, struct err *err)
{
    char again[LIST_CURSOR_BYTES];
    size_t length = strcspn(cursor, "~");
    if (length == 0 || length >= sizeof(query->position) || cursor[length] == '\0')
        return list_cursor_refuse(err);
    memcpy(query->position, cursor, length);
    query->position[length] = '\0';
    list_cursor_format(query, query->position, again);
    return strcmp(again, cursor) == 0 ? 0 : list_cursor_refuse(err);
}

static int labels_parse(const struct request *request, struct list_query *query, struct err *err)
{
    for (size_t i = 0; i < request->parameter_count; i++) {
        char *key = request->parameters[i].value;
        if (strcmp(request->parameters[i].name, "label") != 0)
            continue;
        if (query->label_count == LIST_LABELS_MAX)
            return err_set(err, ErrInvalidParameter, 0,
                           "query parameter 'label' may be given at most %d times",
                           LIST_LABELS_MAX);
        char *equals = strchr(key, '=');
        if (!equals)
            return err_set(err, ErrInvalidParameter, 0,
                           "query parameter 'label' must be KEY=VALUE, not '%s'", key);
        *equals = '\0';
        query->labels[query->label_count].key = key;
        query->labels[query->label_count++].value = equals + 1;
    }
    return 0;
}

int list_query_parse(const struct request *request, struct list_query *query, struct err *err)
{
    const char *cursor = request_parameter(request, "cursor");
    *query = (struct list_query){.filters = filters_hash(request)};
    if (request_limit(request, &query->limit, err) != 0 ||
        (cursor && cursor_parse(cursor, query, err) != 0))
        return -1;
    return labels_parse(request, query, err);
}

int list_time(const struct request *request, const char *name, bool *is_given, uint64_t *time_us,
              struct err *err)
{
    const char *text = request_parameter(request, name);
    *is_given = text != NULL;
    if (!text || clock_parse(text, time_us) == 0)
        return 0;
    return err_set(err, ErrInvalidParameter, 0,
                   "query parameter '%s' must be a time of RFC 3339, such as 2026-01-31T12:00:00Z "
                   "(a '+' is written %%2B)",
                   name);
}
