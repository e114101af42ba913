/* SPDX-License-Identifier: Apache-2.0
 *
 * See result.h. An object as a whole is written as nested lists, because it may have fields that
 * are newer than this program.
 */
#include "clients/cli/result.h"

#include "clients/cli/send.h"
#include "clients/cli/table.h"
#include "clients/cli/text.h"

#include <string.h>

int result_output(struct call *call, enum output *output)
{
    static const char *const names[] = {"table", "wide", "json", "name"};
    const char *given = call_option(call, OPTION_OUTPUT);
    *output = OUTPUT_TABLE;
    for (int i = 0; given && i < 4; i++)
        if (strcmp(given, names[i]) == 0) {
            *output = (enum output)i;
            return 0;
        }
    return given ? fail(&call->failure, EXIT_USAGE,
                        "--output: '%s' is not table, wide, json or name", given)
                 : 0;
}

void result_write_json(const char *body, size_t bytes)
{
    if (isatty(STDOUT_FILENO))
        text_write(stdout, body, bytes, TEXT_JSON);
    else
        fwrite(body, 1, bytes, stdout);
    if (bytes == 0 || body[bytes - 1] != '\n')
        putchar('\n');
}

static void line_write(const char *text)
{
    text_write(stdout, text, strlen(text), TEXT_LINE);
    putchar('\n');
}

void result_write_name(const cJSON *object, const struct resource *resource)
{
    const cJSON *name = cell_value(object, resource->name_path);
    if (cJSON_IsString(name))
        line_write(name->valuestring);
    else if (cJSON_IsNumber(name))
        printf("%.0f\n", name->valuedouble);
    else
        puts("-");
}

static void scalar_put(const cJSON *value)
{
    CLEANUP_FREE char *printed = cJSON_PrintUnformatted(value);
    line_write(cJSON_IsString(value) && *value->valuestring ? value->valuestring
               : printed                                    ? printed
                                                            : "-");
}

/* An object's members, or an array's items, each on its line or below it. `depth`: cJSON limits
 * it. */
static void members_put(const cJSON *value, int depth)
{
    const cJSON *member;
    cJSON_ArrayForEach(member, value)
    {
        printf("%*s", 2 * depth, "");
        if (member->string)
            text_write(stdout, member->string, strlen(member->string), TEXT_LINE);
        putchar(member->string ? ':' : '-');
        if ((cJSON_IsObject(member) || cJSON_IsArray(member)) && member->child) {
            putchar('\n');
            members_put(member, depth + 1);
        } else {
            putchar(' ');
            scalar_put(member);
        }
    }
}

static int row_put(struct call *call, const cJSON *object, const struct resource *resource,
                   bool is_wide)
{
    struct table table = {.resource = resource, .is_wide = is_wide};
    CLEANUP_JSON cJSON *items = cJSON_CreateArray();
    CLEANUP_JSON cJSON *copy = cJSON_Duplicate(object, true);
    if (!items || !copy || !cJSON_AddItemToArray(items, copy))
        return fail_memory(&call->failure);
    copy = NULL;
    return table_write(&table, items) == 0 ? 0 : fail_memory(&call->failure);
}

static int result_put(struct call *call, const struct reply *reply, const struct resource *resource,
                      bool is_whole)
{
    enum output output;
    if (result_output(call, &output) != 0)
        return -1;
    if (!reply->bytes)
        return 0;
    CLEANUP_JSON cJSON *object = cJSON_Parse(reply->body);
    if (!object)
        return fail(&call->failure, EXIT_REFUSED, "the reply of %s is no JSON; is it snapgroupd?",
                    client_where(call->client));
    if (output == OUTPUT_JSON)
        result_write_json(reply->body, reply->bytes);
    else if (output == OUTPUT_NAME)
        result_write_name(object, resource);
    else if (is_whole)
        members_put(object, 0);
    else
        return row_put(call, object, resource, output == OUTPUT_WIDE);
    return 0;
}

int result_row(struct call *call, const struct reply *reply, const struct resource *resource)
{
    return result_put(call, reply, resource, false);
}

int result_whole(struct call *call, const struct reply *reply, const struct resource *resource)
{
    return result_put(call, reply, resource, true);
}
