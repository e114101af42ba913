/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of the table `merges`, for merges.c, and for jobs.c, whose rows have them. Private to
 * store/.
 */
#ifndef STORE_MERGE_ROWS_H
#define STORE_MERGE_ROWS_H

#include "store/row.h"
#include "store/table.h"

#define MERGE_COLUMNS(FIRST, X)                                                                    \
    FIRST(device, TEXT)                                                                            \
    X(base, TEXT_OR_NULL)                                                                          \
    X(upper, TEXT)                                                                                 \
    X(stage, CHOICE)                                                                               \
    X(offset_bytes, INTEGER)                                                                       \
    X(group_id, TEXT_OR_NULL)                                                                      \
    X(copy_bytes, INTEGER)                                                                         \
    X(pushed_bytes, INTEGER)                                                                       \
    X(files, TEXT_OR_NULL)

extern const char *const merge_stage_names[MERGE_STAGES];
extern const struct table merge_table; /* of struct merge_row: MERGE_COLUMNS, and id */

void merge_rows_free(struct merge_row *rows, size_t count);

/* The merges of a job, in the order of their insertion. *rows is heap; nothing on failure. */
int merges_load(struct connection *reader, const char *job_id, struct merge_row **rows,
                size_t *count, struct err *err);

#endif
