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

int store_job_is_near(struct store *store, const char *id, const char *other, struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement =
        query_begin(&query, store,
                    "WITH RECURSIVE tree (job, place) AS ("
                    "SELECT jobs.id, backing_image FROM jobs JOIN members USING (group_id) "
                    "WHERE jobs.id IN (:id, :other) AND backing_image IS NOT NULL "
                    "AND (jobs.device IS NULL OR jobs.device = members.device) "
                    "UNION SELECT job_id, base FROM merges "
                    "WHERE job_id IN (:id, :other) AND base IS NOT NULL "
                    "UNION SELECT jobs.id, roots.value FROM jobs, "
                    "json_each(jobs.spec, '$.roots') AS roots "
                    "WHERE jobs.id IN (:id, :other) AND roots.value IS NOT NULL "
                    "UNION SELECT job, backing FROM tree CROSS JOIN images ON path = place "
                    "WHERE backing IS NOT NULL) "
                    "SELECT EXISTS (SELECT 1 FROM tree AS a JOIN tree AS b USING (place) "
                    "WHERE a.job = :id AND b.job = :other)",
                    err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", id);
    statement_bind_text(statement, ":other", other);
    int found = statement_step(query.reader, statement, ErrInternalError, "", err);
    return found > 0 ? sqlite3_column_int(statement, 0) : found;
}
