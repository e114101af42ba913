/* SPDX-License-Identifier: Apache-2.0
 *
 * See cell.h.
 */
#include "clients/cli/cell.h"

#include <string.h>

const cJSON *cell_value(const cJSON *object, const char *path)
{
    char name[64];
    while (object && *path) {
        size_t length = strcspn(path, ".");
        snprintf(name, sizeof(name), "%.*s", (int)length, path);
        object = cJSON_GetObjectItemCaseSensitive(object, name);
        path += length + (path[length] == '.');
    }
    return object;
}

void cell_write_bytes(FILE *to, double bytes)
{
    static const char units[] = "KMGTP";
    int unit = -1;
    for (; bytes >= 1024 && unit + 1 < (int)sizeof(units) - 1; unit++)
        bytes /= 1024;
    if (unit < 0)
        fprintf(to, "%.0f", bytes);
    else
        fprintf(to, "%.*f%c", bytes < 10 && bytes != (int)bytes ? 1 : 0, bytes, units[unit]);
}

static void scalar_write(FILE *to, const cJSON *value)
{
    if (cJSON_IsString(value))
        fputs(*value->valuestring ? value->valuestring : "-", to);
    else if (cJSON_IsNumber(value))
        fprintf(to, "%.17g", value->valuedouble);
    else if (cJSON_IsBool(value))
        fputs(cJSON_IsTrue(value) ? "yes" : "no", to);
    else
        fputc('-', to);
}

/* 2026-01-31T12:00:00.000001Z, without the fraction. */
static void time_write(FILE *to, const cJSON *value)
{
    const char *text = cJSON_GetStringValue(value), *fraction = text ? strchr(text, '.') : NULL;
    if (!fraction || !strchr(fraction, 'Z'))
        scalar_write(to, value);
    else
        fprintf(to, "%.*sZ", (int)(fraction - text), text);
}

static void list_write(FILE *to, const cJSON *list, bool has_keys)
{
    const cJSON *item;
    unsigned count = 0;
    cJSON_ArrayForEach(item, list)
    {
        const cJSON *device = cJSON_GetObjectItemCaseSensitive(item, "device");
        if (count++ > 0)
            fputc(',', to);
        if (has_keys)
            fprintf(to, "%s=", item->string);
        scalar_write(to, device ? device : item);
    }
    if (count == 0)
        fputc('-', to);
}

static void progress_write(FILE *to, const cJSON *progress)
{
    double done = cJSON_GetNumberValue(cell_value(progress, "done_bytes"));
    double total = cJSON_GetNumberValue(cell_value(progress, "total_bytes"));
    cell_write_bytes(to, done);
    fputc('/', to);
    cell_write_bytes(to, total);
}

void cell_write(FILE *to, const cJSON *object, const struct column *column, bool is_wide)
{
    const cJSON *value = cell_value(object, column->path);
    if (column->kind == CELL_BYTES && cJSON_IsNumber(value) && !is_wide)
        cell_write_bytes(to, value->valuedouble);
    else if (column->kind == CELL_TIME)
        time_write(to, value);
    else if (column->kind == CELL_COUNT)
        fprintf(to, "%d", cJSON_GetArraySize(value));
    else if (column->kind == CELL_LIST || column->kind == CELL_LABELS)
        list_write(to, value, column->kind == CELL_LABELS);
    else if (column->kind == CELL_PROGRESS && cJSON_IsObject(value))
        progress_write(to, value);
    else
        scalar_write(to, value);
}
