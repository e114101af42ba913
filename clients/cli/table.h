/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of a resource, written page by page to standard output. The columns are as wide as what is
 * on the pages so far, so that a long list needs no memory.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "clients/cli/cell.h"

#define TABLE_COLUMNS_MAX 16

struct table {
    const struct resource *resource;
    bool is_wide;
    bool has_title;
    size_t widths[TABLE_COLUMNS_MAX];
};

/* Writes the items of an array; the titles come first. 0, or -1 without memory. */
int table_write(struct table *table, const cJSON *items);

#endif
