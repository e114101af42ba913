/* SPDX-License-Identifier: Apache-2.0
 *
 * See status.h. Four calls, of which none costs more with more devices or groups: those that are
 * well are not counted.
 */
#include "clients/cli/status.h"

#include "clients/cli/result.h"
#include "clients/cli/send.h"
#include "clients/cli/text.h"

#include <stdio.h>
#include <string.h>

enum { VERSION, HEALTH, FAILED, RUNNING, PARTS };

static const struct {
    const char *name; /* in JSON */
    const char *path;
} parts[PARTS] = {
    [VERSION] = {"version", "/version"},
    [HEALTH] = {"health", "/readyz"},
    [FAILED] = {"failed_devices", "/devices?state=failed&limit=100"},
    [RUNNING] = {"running_jobs", "/jobs?state=running&limit=100"},
};

struct status {
    struct reply replies[PARTS];
    cJSON *json[PARTS];
};

static void status_release(struct status *status)
{
    for (size_t i = 0; i < PARTS; i++) {
        reply_release(&status->replies[i]);
        cJSON_Delete(status->json[i]);
    }
}

static void line_put(const char *title, const char *text)
{
    printf("%-14s ", title);
    text_write(stdout, text, strlen(text), TEXT_LINE);
    putchar('\n');
}

static const char *text_of(const cJSON *object, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
    return text ? text : "-";
}

/* How many items a page has, and who they are. */
static void items_put(const char *title, const cJSON *page, const char *name, const char *more)
{
    const cJSON *item, *items = cJSON_GetObjectItemCaseSensitive(page, "items");
    bool has_more = cJSON_IsString(cJSON_GetObjectItemCaseSensitive(page, "next"));
    printf("%-14s %d%s\n", title, cJSON_GetArraySize(items), has_more ? " or more" : "");
    cJSON_ArrayForEach(item, items)
    {
        const char *first = text_of(item, name), *second = text_of(item, more);
        fputs("  ", stdout);
        text_write(stdout, first, strlen(first), TEXT_LINE);
        fputs(": ", stdout);
        text_write(stdout, second, strlen(second), TEXT_LINE);
        putchar('\n');
    }
}

static void json_put(const struct status *status)
{
    CLEANUP_FREE char *whole = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&whole, &bytes);
    for (size_t i = 0; to && i < PARTS; i++)
        fprintf(to, "%s\"%s\":%s", i == 0 ? "{" : ",", parts[i].name, status->replies[i].body);
    if (!to)
        return;
    fputc('}', to);
    fclose(to);
    result_write_json(whole, bytes);
}

int run_status(struct call *call)
{
    CLEANUP_BY(status_release) struct status status = {0};
    enum output output;
    if (result_output(call, &output) != 0)
        return -1;
    for (size_t i = 0; i < PARTS; i++)
        if (client_get(call, parts[i].path, &status.replies[i], &status.json[i]) != 0)
            return -1;
    if (output == OUTPUT_JSON) {
        json_put(&status);
    } else if (output == OUTPUT_NAME) {
        const char *state = text_of(status.json[HEALTH], "status");
        text_write(stdout, state, strlen(state), TEXT_LINE);
        putchar('\n');
    } else {
        line_put("Daemon", client_where(call->client));
        line_put("Version", text_of(status.json[VERSION], "version"));
        line_put("State", text_of(status.json[HEALTH], "status"));
        items_put("Failed devices", status.json[FAILED], "name", "reason");
        items_put("Running jobs", status.json[RUNNING], "id", "kind");
    }
    return 0;
}
