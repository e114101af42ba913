/* SPDX-License-Identifier: Apache-2.0
 *
 * See event.h. With --follow events are written as they come, as JSON each on a line of its own. A
 * stream that breaks is resumed behind the last id, which the daemon tells at once and again and
 * again, so no event is lost or comes twice.
 */
#include "clients/cli/event.h"

#include "clients/cli/list.h"
#include "clients/cli/problem.h"
#include "clients/cli/result.h"
#include "clients/cli/send.h"
#include "clients/cli/table.h"
#include "clients/cli/uri.h"
#include "clients/cli/values.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define ID_BYTES       24
#define LINE_BYTES_MAX ((size_t)4 << 20)
#define PAUSE_MS       500

static const struct column columns[] = {
    {"ID", "id", CELL_TEXT, false},
    {"AT", "at", CELL_TIME, false},
    {"KIND", "kind", CELL_TEXT, false},
    {"DEVICE", "device", CELL_TEXT, false},
    {"NAME", "detail.name", CELL_TEXT, false},
    {"ACTOR", "actor", CELL_TEXT, false},
    {"GROUP", "group", CELL_TEXT, true},
    {"JOB", "job", CELL_TEXT, true},
    {"REQUEST", "request_id", CELL_TEXT, true},
    {"MESSAGE", "detail.message", CELL_TEXT, true},
};
static const struct resource event = RESOURCE("id", columns);

/* A stream of messages, taken line by line. */
struct following {
    struct call *call;
    enum output output;
    struct table table;
    int64_t left;
    char last_id[ID_BYTES];
    int64_t end_ms; /* without --timeout: until then the first stream must have begun */
    char *line;
    size_t line_bytes;
    size_t line_room;
    char *data; /* of the message, or NULL */
    bool is_gap;
    bool has_failed;
};

static int event_show(struct following *following, const char *data)
{
    CLEANUP_JSON cJSON *items = cJSON_CreateArray();
    cJSON *object = cJSON_Parse(data);
    if (!items || !object || !cJSON_AddItemToArray(items, object))
        return fail(&following->call->failure, EXIT_REFUSED, "an event is no JSON");
    if (following->is_gap)
        fputs("snapgroupctl: events are missing here: they were deleted\n", stderr);
    else if (following->output == OUTPUT_JSON)
        result_write_json(data, strlen(data));
    else if (following->output == OUTPUT_NAME)
        result_write_name(object, &event);
    else if (table_write(&following->table, items) != 0)
        return fail_memory(&following->call->failure);
    if (!following->is_gap)
        following->left -= following->left != INT64_MAX;
    return fflush(stdout) != 0 || following->left == 0 ? 1 : 0;
}

/* 1: the stream is to end; -1: it has failed. */
static int line_take(struct following *following, const char *line)
{
    int result = 0;
    if (strncmp(line, "id: ", 4) == 0)
        snprintf(following->last_id, ID_BYTES, "%.*s", ID_BYTES - 1, line + 4);
    else if (strncmp(line, "event: ", 7) == 0)
        following->is_gap = strcmp(line + 7, "gap") == 0;
    else if (strncmp(line, "data: ", 6) == 0 && !following->data)
        following->data = strdup(line + 6);
    if (*line)
        return 0;
    if (following->data)
        result = event_show(following, following->data);
    free(following->data);
    following->data = NULL;
    following->is_gap = false;
    return result;
}

/* Adds a byte of a line. */
static int byte_add(struct following *following, char byte)
{
    if (following->line_bytes + 1 >= following->line_room) {
        size_t room = following->line_room * 2 + 256;
        char *line = room <= LINE_BYTES_MAX ? realloc(following->line, room) : NULL;
        if (!line)
            return fail(&following->call->failure, EXIT_REFUSED, "an event is too long");
        following->line = line;
        following->line_room = room;
    }
    following->line[following->line_bytes++] = byte;
    following->line[following->line_bytes] = '\0';
    return 0;
}

static int text_take(void *context, const char *text, size_t bytes)
{
    struct following *following = context;
    for (size_t i = 0; i < bytes; i++) {
        int result = 0;
        if (text[i] != '\n') {
            result = byte_add(following, text[i]);
        } else {
            result = line_take(following, following->line_bytes ? following->line : "");
            following->line_bytes = 0;
        }
        following->has_failed |= result < 0;
        if (result != 0)
            return -1;
    }
    return 0;
}

/* Whether a stream that has ended so is to be begun again. */
static bool is_worth_more(struct following *following, enum exchange result,
                          const struct reply *reply)
{
    struct call *call = following->call;
    int64_t deadline_ms = client_deadline_ms(call->client);
    bool was_known = *following->last_id != '\0';
    if (deadline_ms ? monotonic_ms() >= deadline_ms
                    : !was_known && monotonic_ms() >= following->end_ms)
        return false;
    if (result == EXCHANGE_REPLIED && reply->status >= 400) {
        problem_fail(reply, &call->failure);
        CLEANUP_JSON cJSON *problem =
            reply->is_json && reply->body ? cJSON_Parse(reply->body) : NULL;
        return problem_may_pass(problem, reply->status);
    }
    return result != EXCHANGE_FAILED;
}

/* Follows one stream; 1: another one is to be begun. */
static int stream_follow(struct following *following, const char *path)
{
    struct call *call = following->call;
    struct request request = {.method = "GET", .path = path};
    CLEANUP_REPLY struct reply reply = {0};
    enum exchange result = client_stream(call->client, &request, following->last_id, text_take,
                                         following, &reply, &call->failure);
    following->line_bytes = 0;
    free(steal(following->data));
    if (result == EXCHANGE_ENDED)
        return following->has_failed ? -1 : 0;
    if (is_worth_more(following, result, &reply)) {
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000}, NULL);
        return 1;
    }
    /* With --timeout that is how long to follow. */
    return result == EXCHANGE_LATE && *following->last_id ? 0 : -1;
}

/* The path of the stream, with its filters; the caller frees it. */
static char *stream_path(const struct call *call)
{
    static const enum option filters[] = {OPTION_AFTER, OPTION_KIND, OPTION_DEVICE, OPTION_GROUP};
    char *path = NULL;
    size_t bytes = 0;
    unsigned count = 0;
    FILE *to = open_memstream(&path, &bytes);
    if (!to)
        return NULL;
    fputs("/events", to);
    for (size_t i = 0; i < sizeof(filters) / sizeof(*filters); i++)
        if (call_has(call, filters[i]))
            uri_parameter(to, &count, call->option_rows[filters[i]].name,
                          call_option(call, filters[i]));
    fclose(to);
    return path;
}

static int events_follow(struct call *call)
{
    struct following following = {.call = call,
                                  .left = INT64_MAX,
                                  .end_ms = monotonic_ms() + SEND_RETRY_MS,
                                  .table = {.resource = &event}};
    const char *limit = call_option(call, OPTION_LIMIT);
    CLEANUP_FREE char *path = stream_path(call);
    int result = 1;
    if (!path)
        return fail_memory(&call->failure);
    if (limit && value_number("--limit", limit, 1, VALUE_MAX, &following.left, &call->failure) != 0)
        return -1;
    if (result_output(call, &following.output) != 0)
        return -1;
    following.table.is_wide = following.output == OUTPUT_WIDE;
    while (result == 1)
        result = stream_follow(&following, path);
    free(following.line);
    free(following.data);
    return result;
}

int run_events(struct call *call)
{
    if (call_has(call, OPTION_FOLLOW))
        return events_follow(call);
    return list_show(call, &(struct list){.path = "/events",
                                          .cursor = "after",
                                          .page_items_max = 1000,
                                          .resource = &event});
}
