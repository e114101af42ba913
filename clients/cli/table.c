/* SPDX-License-Identifier: Apache-2.0
 *
 * See table.h.
 */
#include "clients/cli/table.h"

#include "clients/cli/text.h"

#include "base/cleanup.h"

#include <string.h>

/* The text of a cell, which the caller frees. */
static char *cell_text(const struct table *table, const cJSON *item, size_t column)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *to = open_memstream(&text, &bytes);
    if (!to)
        return NULL;
    cell_write(to, item, &table->resource->columns[column], table->is_wide);
    fclose(to);
    return text;
}

static bool is_shown(const struct table *table, size_t column)
{
    return table->is_wide || !table->resource->columns[column].is_wide;
}

static int widths_grow(struct table *table, const cJSON *items)
{
    const cJSON *item;
    for (size_t c = 0; c < table->resource->count; c++) {
        size_t *width = &table->widths[c], title = strlen(table->resource->columns[c].title);
        *width = *width < title ? title : *width;
        cJSON_ArrayForEach(item, items)
        {
            CLEANUP_FREE char *text = is_shown(table, c) ? cell_text(table, item, c) : strdup("");
            if (!text)
                return -1;
            size_t columns = text_width(text);
            *width = *width < columns ? columns : *width;
        }
    }
    return 0;
}

/* Writes a cell, and what separates it from the next one. */
static void cell_put(const struct table *table, size_t column, const char *text)
{
    size_t next = column + 1, used = text_width(text);
    while (next < table->resource->count && !is_shown(table, next))
        next++;
    text_write(stdout, text, strlen(text), TEXT_LINE);
    if (next == table->resource->count)
        putchar('\n');
    else
        printf("%*s", (int)(table->widths[column] - used) + 2, "");
}

int table_write(struct table *table, const cJSON *items)
{
    const cJSON *item;
    if (widths_grow(table, items) != 0)
        return -1;
    for (size_t c = 0; !table->has_title && c < table->resource->count; c++)
        if (is_shown(table, c))
            cell_put(table, c, table->resource->columns[c].title);
    table->has_title = true;
    cJSON_ArrayForEach(item, items)
    {
        for (size_t c = 0; c < table->resource->count; c++) {
            CLEANUP_FREE char *text = is_shown(table, c) ? cell_text(table, item, c) : NULL;
            if (text)
                cell_put(table, c, text);
        }
    }
    return 0;
}
