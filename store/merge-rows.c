/* SPDX-License-Identifier: Apache-2.0
 *
 * See merge-rows.h.
 */
#include "store/merge-rows.h"

#define ROW struct merge_row

const char *const merge_stage_names[] = {
    [MERGE_PLANNED] = "planned",       [MERGE_COPYING] = "copying", [MERGE_COPIED] = "copied",
    [MERGE_REDIRECTED] = "redirected", [MERGE_DONE] = "done",
};
static const struct column columns[] = {COLUMN_ENTRIES(MERGE_COLUMNS) COLUMN_ENTRY(id, INTEGER)};
const struct table merge_table = {TABLE("merges"), .choices = merge_stage_names,
                                  .choice_count = MERGE_STAGES};

void merge_rows_free(struct merge_row *rows, size_t count)
{
    rows_free(&merge_table, rows, count);
}

int merges_load(struct connection *reader, const char *job_id, struct merge_row **rows,
                size_t *count, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_begin(
        reader,
        "SELECT " COLUMN_NAMES(MERGE_COLUMNS) ", id FROM merges WHERE job_id = :job_id ORDER BY id",
        err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":job_id", job_id);
    return rows_load(reader, &merge_table, statement, (void **)rows, count, err);
}
