/* SPDX-License-Identifier: Apache-2.0
 *
 * See job-conflicts.h.
 */
#include "store/job-conflicts.h"

#include "store/access.h"

#include <assert.h>
#include <stdio.h>

/* The id that `sql` finds for :key. 1; 0: there is none; -1: *err. */
static int id_find(struct connection *writer, const char *sql, const char *key,
                   char id[STORE_ID_CHARS + 1], struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = NULL;
    int found = statement_find(writer, &statement, sql, key, err);
    if (found > 0)
        snprintf(id, STORE_ID_CHARS + 1, "%s", (const char *)sqlite3_column_text(statement, 0));
    return found;
}

static int conflict_find(struct connection *writer, const struct job_row *row, const char *image,
                         struct err *err)
{
    char id[STORE_ID_CHARS + 1];
    int found = id_find(writer, "SELECT id FROM groups WHERE id = :key AND state = 'committed'",
                        row->group_id, id, err);
    if (found == 0)
        return err_set(err, ErrGroupDeleting, 0, "snapshot group '%s' is being deleted",
                       row->group_id);
    if (found > 0)
        found = id_find(writer,
                        "SELECT id FROM jobs WHERE finished_at_us IS NULL AND kind = 'copy' AND "
                        "json_extract(spec, '$.image') = :key",
                        image, id, err);
    if (found <= 0)
        return found;
    err_set(err, ErrDeviceInUse, 0, "image '%s' is being written by job '%s'", image, id);
    return err_add_holder(err, "job", id);
}

int store_job_insert_copy(struct store_transaction *transaction, const struct job_row *row,
                          const char *image, struct err *err)
{
    assert(row->kind == JOB_COPY);
    if (conflict_find(transaction_writer(transaction), row, image, err) != 0)
        return transaction_result(transaction, -1);
    return store_job_insert(transaction, row, err);
}

/* `busy`: the images of the trees of those that run. */
static const char find_free_sql[] =
    "WITH RECURSIVE running (id) AS MATERIALIZED "
    "(SELECT value FROM json_each(:running)), "
    "busy (place) AS ("
    "SELECT backing_image FROM jobs JOIN members USING (group_id) "
    "WHERE jobs.id IN running AND backing_image IS NOT NULL "
    "AND (jobs.device IS NULL OR jobs.device = members.device) "
    "UNION SELECT base FROM merges WHERE job_id IN running AND base IS NOT NULL "
    "UNION SELECT roots.value FROM jobs, "
    "json_each(jobs.spec, '$.roots') AS roots "
    "WHERE jobs.id IN running AND roots.value IS NOT NULL "
    "UNION SELECT backing FROM busy CROSS JOIN images ON path = place "
    "WHERE backing IS NOT NULL) "
    "SELECT id FROM jobs AS job "
    "WHERE state = :state AND id NOT IN running AND NOT EXISTS ("
    "WITH RECURSIVE own (place) AS ("
    "SELECT backing_image FROM members WHERE group_id = job.group_id "
    "AND backing_image IS NOT NULL "
    "AND (job.device IS NULL OR job.device = members.device) "
    "UNION SELECT base FROM merges WHERE job_id = job.id AND base IS NOT NULL "
    "UNION SELECT value FROM json_each(job.spec, '$.roots') "
    "WHERE value IS NOT NULL "
    "UNION SELECT backing FROM own CROSS JOIN images ON path = place "
    "WHERE backing IS NOT NULL) "
    "SELECT 1 FROM own WHERE place IN (SELECT place FROM busy)) "
    "ORDER BY sequence LIMIT 1";

int store_job_find_free(struct store *store, const char *state, const char *running,
                        char id[STORE_ID_CHARS + 1], struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement = query_begin(&query, store, find_free_sql, err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":running", running);
    statement_bind_text(statement, ":state", state);
    int found = statement_step(query.reader, statement, ErrInternalError, "", err);
    if (found > 0)
        snprintf(id, STORE_ID_CHARS + 1, "%s", (const char *)sqlite3_column_text(statement, 0));
    return found;
}
