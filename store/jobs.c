/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `jobs`. See jobs.h.
 *
 * A change of state names the states that it may come from; from any other nothing changes.
 */
#include "store/jobs.h"

#include "store/access.h"
#include "store/merge-rows.h"

#include <assert.h>
#include <string.h>

/* All but `sequence` and `revision`, which the insert gives. */
#define ROW struct job_row
#define COLUMNS(FIRST, X)                                                                          \
    FIRST(id, ID)                                                                                  \
    X(kind, CHOICE, AMONG(kind_names, JOB_COPY + 1))                                               \
    X(state, CHOICE)                                                                               \
    X(group_id, TEXT_OR_NULL)                                                                      \
    X(device, TEXT_OR_NULL)                                                                        \
    X(spec, TEXT)                                                                                  \
    X(kept, TEXT)                                                                                  \
    X(total_bytes, INTEGER)                                                                        \
    X(done_bytes, INTEGER)                                                                         \
    X(file_state, CHOICE, AMONG(file_state_names, JOB_FILE_WHOLE + 1))                             \
    X(offset_bytes, INTEGER)                                                                       \
    X(rate_bytes_per_second, INTEGER)                                                              \
    X(created_at_us, INTEGER)                                                                      \
    X(finished_at_us, INTEGER, KNOWN_BY(has_finished))                                             \
    ERROR_COLUMNS(X)
#define NAMES  COLUMN_NAMES(COLUMNS)
#define VALUES COLUMN_VALUES(COLUMNS)
#define SELECT "SELECT " NAMES ", sequence, revision FROM jobs "

static const char *const kind_names[] = {[JOB_DELETE] = "delete", [JOB_COPY] = "copy"};
static const char *const state_names[] = {
    [JOB_QUEUED] = "queued", [JOB_RUNNING] = "running", [JOB_PAUSED] = "paused",
    [JOB_DONE] = "done",     [JOB_FAILED] = "failed",   [JOB_CANCELLED] = "cancelled",
};
static const char *const file_state_names[] = {
    [JOB_FILE_NONE] = "none", [JOB_FILE_STAGED] = "staged", [JOB_FILE_WHOLE] = "whole"};
static const struct column columns[] = {COLUMN_ENTRIES(COLUMNS) COLUMN_ENTRY(sequence, INTEGER)
                                            COLUMN_ENTRY(revision, INTEGER)};
static const struct table jobs = {TABLE("jobs"), .choices = state_names,
                                  .choice_count = JOB_STATES};

/* Longer than file systems keep changes of directories in memory (btrfs: 30 s). */
#define LATELY "(SELECT max(finished_at_us) - 120000000 FROM jobs WHERE kind = 'copy')"
/* More than one, so that a backlog ends; few, so that no insert takes long. */
#define PRUNED_AT_ONCE 8

const char *job_kind_name(enum job_kind kind)
{
    return kind_names[kind];
}

const char *job_state_name(enum job_state state)
{
    return state_names[state];
}

enum job_state job_state_from_name(const char *name)
{
    int state = JOB_QUEUED;
    while (state < JOB_STATES && strcmp(state_names[state], name) != 0)
        state++;
    return (enum job_state)state;
}

bool job_state_is_finished(enum job_state state)
{
    return state >= JOB_DONE;
}

void job_row_clear(struct job_row *row)
{
    merge_rows_free(row->merges, row->merge_count);
    row_clear(&jobs, row);
}

void job_rows_free(struct job_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        job_row_clear(&rows[i]);
    free(rows);
}

/* ---- changing ---- */

/* Deletes a few of the oldest jobs that have finished and are too many or too old; not those that
 * have left a merge undone, which another job has to finish, or a file that is still to go. These
 * are no part of the few, or they would keep all others. */
static int jobs_prune(struct connection *writer, uint64_t now_us, struct err *err)
{
    const uint64_t age_us = (uint64_t)STORE_JOB_DAYS_MAX * 24 * 3600 * 1000000;
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_begin(
        writer,
        "WITH old AS (SELECT sequence, finished_at_us FROM jobs WHERE finished_at_us IS NOT NULL "
        "AND file_state = 'none' "
        "AND NOT EXISTS (SELECT 1 FROM merges WHERE job_id = jobs.id AND stage <> 'done') "
        "ORDER BY sequence LIMIT :count) DELETE FROM jobs WHERE sequence IN "
        "(SELECT sequence FROM old WHERE finished_at_us < :oldest OR sequence <= "
        "(SELECT sequence FROM jobs WHERE finished_at_us IS NOT NULL ORDER BY sequence DESC "
        "LIMIT 1 OFFSET :kept))",
        err);
    if (!statement)
        return -1;
    statement_bind_int(statement, ":oldest", now_us > age_us ? (int64_t)(now_us - age_us) : 0);
    statement_bind_int(statement, ":kept", STORE_JOBS_MAX);
    statement_bind_int(statement, ":count", PRUNED_AT_ONCE);
    return statement_run(writer, statement, ErrInternalError, "", err) < 0 ? -1 : 0;
}

int store_job_insert(struct store_transaction *transaction, const struct job_row *row,
                     struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    assert(row->state == JOB_QUEUED);
    bool has_failed = row_run(&jobs, writer, "INSERT INTO jobs (" NAMES ") VALUES (" VALUES ")",
                              row, ErrInternalError, row->id, err) < 0 ||
                      jobs_prune(writer, row->created_at_us, err) != 0;
    return transaction_result(transaction, has_failed ? -1 : 0);
}

static int job_row_write(struct store_transaction *transaction, const char *sql,
                         const struct job_row *row, struct err *err)
{
    int changed =
        row_run(&jobs, transaction_writer(transaction), sql, row, ErrInternalError, row->id, err);
    return changed < 0 ? transaction_result(transaction, -1) : changed;
}

/* A plan is due for what it has left undone, if the device was attached again meanwhile. 1; -1. */
static int job_plan_left(struct store_transaction *transaction, const struct job_row *row,
                         struct err *err)
{
    int planned = job_row_write(transaction,
                                "INSERT OR IGNORE INTO due_plans SELECT base FROM merges "
                                "JOIN images ON path = upper "
                                "WHERE job_id = :id AND stage = 'copying' AND NOT is_kept",
                                row, err);
    return planned < 0 ? -1 : 1;
}

int store_job_update_state(struct store_transaction *transaction, const struct job_row *row,
                           struct err *err)
{
    static const char *const changes[JOB_STATES] = {
        [JOB_QUEUED] = "UPDATE jobs SET state = :state, revision = revision + 1 "
                       "WHERE id = :id AND state IN ('running', 'paused')",
        [JOB_RUNNING] = "UPDATE jobs SET state = :state, revision = revision + 1 "
                        "WHERE id = :id AND state = 'queued'",
        [JOB_PAUSED] = "UPDATE jobs SET state = :state, revision = revision + 1 "
                       "WHERE id = :id AND state IN ('queued', 'running') "
                       "AND file_state <> 'whole'",
        [JOB_DONE] = "UPDATE jobs SET state = :state, revision = revision + 1, "
                     "finished_at_us = :finished_at_us, done_bytes = :done_bytes, "
                     "file_state = :file_state WHERE id = :id AND state = 'running'",
        [JOB_FAILED] = "UPDATE jobs SET state = :state, revision = revision + 1, "
                       "finished_at_us = :finished_at_us, done_bytes = :done_bytes, "
                       "error_code = :error_code, error_errnum = :error_errnum, "
                       "error_message = :error_message "
                       "WHERE id = :id AND state IN ('queued', 'running')",
        [JOB_CANCELLED] = "UPDATE jobs SET state = :state, revision = revision + 1, "
                          "finished_at_us = :finished_at_us "
                          "WHERE id = :id AND state IN ('queued', 'running', 'paused') "
                          "AND file_state <> 'whole'",
    };
    assert(job_state_is_finished(row->state) == row->has_finished);
    assert((row->state == JOB_FAILED) == row->has_error);
    int changed = job_row_write(transaction, changes[row->state], row, err);
    return changed > 0 && row->state == JOB_DONE ? job_plan_left(transaction, row, err) : changed;
}

#define IS_UNFINISHED "WHERE id = :id AND finished_at_us IS NULL"

int store_job_check_revision(struct store_transaction *transaction, const struct job_row *row,
                             struct err *err)
{
    return job_row_write(transaction,
                         "UPDATE jobs SET revision = revision "
                         "WHERE id = :id AND revision = :revision",
                         row, err);
}

int store_job_update_rate(struct store_transaction *transaction, const struct job_row *row,
                          struct err *err)
{
    return job_row_write(transaction,
                         "UPDATE jobs SET rate_bytes_per_second = :rate_bytes_per_second, "
                         "revision = revision + 1 " IS_UNFINISHED,
                         row, err);
}

int store_job_update_plan(struct store_transaction *transaction, const struct job_row *row,
                          struct err *err)
{
    return job_row_write(transaction,
                         "UPDATE jobs SET total_bytes = :total_bytes, kept = :kept, "
                         "revision = revision + 1 " IS_UNFINISHED,
                         row, err);
}

int store_job_update_progress(struct store_transaction *transaction, const struct job_row *row,
                              struct err *err)
{
    return job_row_write(transaction,
                         "UPDATE jobs SET done_bytes = :done_bytes, revision = revision + 1 "
                         "WHERE id = :id AND (finished_at_us IS NULL OR state = 'cancelled')",
                         row, err);
}

int store_job_update_file(struct store_transaction *transaction, const struct job_row *row,
                          struct err *err)
{
    static const char *const changes[] = {
        [JOB_FILE_NONE] = "UPDATE jobs SET file_state = :file_state, offset_bytes = 0, "
                          "revision = revision + 1 "
                          "WHERE id = :id AND finished_at_us IS NOT NULL",
        [JOB_FILE_STAGED] = "UPDATE jobs SET file_state = :file_state, "
                            "offset_bytes = :offset_bytes, done_bytes = :done_bytes, "
                            "revision = revision + 1 " IS_UNFINISHED " AND file_state <> 'whole'",
        [JOB_FILE_WHOLE] = "UPDATE jobs SET file_state = :file_state, offset_bytes = 0, "
                           "done_bytes = :done_bytes, revision = revision + 1 "
                           "WHERE id = :id AND state = 'running' AND file_state = 'staged'",
    };
    return job_row_write(transaction, changes[row->file_state], row, err);
}

/* ---- reading ---- */

/* The next row of the statement, with its merges. 1: *row; 0: there is none; -1: *err. */
static int job_load(struct connection *reader, sqlite3_stmt *statement, struct job_row *row,
                    struct err *err)
{
    int found = statement_step(reader, statement, ErrInternalError, "", err);
    if (found <= 0)
        return found;
    if (row_load(&jobs, statement, row, err) != 0)
        return -1;
    if (merges_load(reader, row->id, &row->merges, &row->merge_count, err) == 0)
        return 1;
    job_row_clear(row);
    return -1;
}

/* The first row of `sql`, with :key and :number bound. */
static int job_find(struct store *store, const char *sql, const char *key, uint64_t number,
                    struct job_row *row, struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement = query_begin(&query, store, sql, err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":key", key);
    statement_bind_int(statement, ":number", (int64_t)number);
    return job_load(query.reader, statement, row, err);
}

int store_job_get(struct store *store, const char *id, struct job_row *row, struct err *err)
{
    return job_find(store, SELECT "WHERE id = :key", id, 0, row, err);
}

int store_job_get_of_group(struct store *store, const char *group_id, struct job_row *row,
                           struct err *err)
{
    return job_find(
        store, SELECT "WHERE group_id = :key AND kind = 'delete' ORDER BY sequence DESC LIMIT 1",
        group_id, 0, row, err);
}

int store_job_get_copy(struct store *store, const char *group_id, struct job_row *row,
                       struct err *err)
{
    return job_find(store,
                    SELECT "WHERE group_id = :key AND kind = 'copy' AND finished_at_us IS NULL "
                           "ORDER BY sequence LIMIT 1",
                    group_id, 0, row, err);
}

int store_job_next_file(struct store *store, uint64_t after, struct job_row *row, struct err *err)
{
    return job_find(store,
                    SELECT "WHERE finished_at_us IS NOT NULL AND sequence > :number AND "
                           "(file_state <> 'none' OR (kind = 'copy' AND finished_at_us >= " LATELY
                           ")) ORDER BY sequence LIMIT 1",
                    "", after, row, err);
}

int store_job_next_left(struct store *store, uint64_t after, struct job_row *row, struct err *err)
{
    return job_find(store,
                    SELECT "WHERE finished_at_us IS NOT NULL AND sequence > :number AND id IN "
                           "(SELECT job_id FROM merges WHERE stage = 'redirected') "
                           "ORDER BY sequence LIMIT 1",
                    "", after, row, err);
}

int store_job_next(struct store *store, enum job_state state, uint64_t after, struct job_row *row,
                   struct err *err)
{
    return job_find(store,
                    SELECT "WHERE state = :key AND sequence > :number ORDER BY sequence LIMIT 1",
                    state_names[state], after, row, err);
}

static size_t job_row_bytes(const struct job_row *row)
{
    size_t bytes = sizeof(*row) + strlen(row->spec) + strlen(row->kept);
    for (size_t i = 0; i < row->merge_count; i++)
        bytes += sizeof(row->merges[i]) + strlen(row->merges[i].upper) +
                 (row->merges[i].base ? strlen(row->merges[i].base) : 0);
    return bytes;
}

/* Loads up to `limit` rows; *more: whether there is one more. */
static int jobs_load(struct connection *reader, sqlite3_stmt *statement, size_t limit,
                     struct job_row *rows, size_t *count, bool *more, struct err *err)
{
    size_t bytes = 0;
    *more = false;
    for (;;) {
        struct job_row row;
        int found = job_load(reader, statement, &row, err);
        if (found <= 0)
            return found;
        *more = *count == limit || bytes > STORE_PAGE_BYTES_MAX;
        if (*more) {
            job_row_clear(&row);
            return 0;
        }
        bytes += job_row_bytes(&row);
        rows[(*count)++] = row;
    }
}

static sqlite3_stmt *job_list_statement(struct connection *reader, enum job_state state,
                                        uint64_t before, size_t limit, struct err *err)
{
    sqlite3_stmt *statement = statement_begin(
        reader,
        state < JOB_STATES ? SELECT
            "WHERE state = :state AND sequence < :before ORDER BY sequence DESC LIMIT "
            ":limit"
                           : SELECT "WHERE sequence < :before ORDER BY sequence DESC LIMIT :limit",
        err);
    if (!statement)
        return NULL;
    statement_bind_int(statement, ":before", before ? (int64_t)before : INT64_MAX);
    statement_bind_int(statement, ":limit", (int64_t)limit + 1);
    if (state < JOB_STATES)
        statement_bind_text(statement, ":state", state_names[state]);
    return statement;
}

int store_job_list(struct store *store, enum job_state state, uint64_t before, size_t limit,
                   struct job_row **rows, size_t *count, uint64_t *next, struct err *err)
{
    bool more;
    struct job_row *loaded = calloc(limit + 1, sizeof(*loaded));
    *count = 0;
    *next = 0;
    if (!loaded)
        return store_out_of_memory(err);
    CLEANUP(reader) struct connection *reader = reader_begin(store, err);
    CLEANUP(statement)
    sqlite3_stmt *statement = reader ? job_list_statement(reader, state, before, limit, err) : NULL;
    if (!statement || jobs_load(reader, statement, limit, loaded, count, &more, err) != 0) {
        job_rows_free(loaded, *count);
        *count = 0;
        return -1;
    }
    if (more)
        *next = loaded[*count - 1].sequence;
    *rows = loaded;
    return 0;
}
