/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `merges`. See merges.h.
 */
#include "store/merges.h"

#include "store/access.h"
#include "store/image-changes.h"
#include "store/merge-rows.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define NAMES  COLUMN_NAMES(MERGE_COLUMNS)
#define VALUES COLUMN_VALUES(MERGE_COLUMNS)

const char *merge_stage_name(enum merge_stage stage)
{
    return merge_stage_names[stage];
}

/* ---- planning ---- */

#define IS_TOP                                                                                     \
    "(EXISTS (SELECT 1 FROM devices WHERE top_image = images.path) OR "                            \
    "EXISTS (" IMAGE_TO_BE_TOP "))"
#define IS_FREE  "(NOT is_kept AND NOT " IS_TOP " AND NOT EXISTS (" IMAGE_GROUPS "))"
#define CHILDREN "(SELECT count(*) FROM images AS child WHERE child.backing = images.path)"

#define CHAIN CHAIN_FROM(":upper")

/* 1 if the images from upper down lead to base, and each allows it. */
#define CHECK_RUN                                                                                  \
    "WITH RECURSIVE " CHAIN ", " BUSY ", " DOUBT ", "                                              \
    "run (place) AS (SELECT place FROM chain WHERE depth <= "                                      \
    "(SELECT depth FROM chain WHERE place = :base AND depth > 0)), "                               \
    "root (is_known) AS (SELECT is_complete FROM chain CROSS JOIN images ON path = place "         \
    "WHERE backing IS NULL) "                                                                      \
    "SELECT (SELECT is_known FROM root) AND NOT " IS_DOUBTFUL " AND "                              \
    "NOT EXISTS (SELECT 1 FROM busy WHERE busy_place IN (SELECT place FROM run)) AND "             \
    "count(*) = sum(CASE WHEN place = :base THEN role <> 'given' ELSE role = 'made' END) AND "     \
    "count(*) = sum(CASE WHEN place = :upper THEN NOT is_kept AND NOT " IS_TOP " "                 \
    "ELSE " IS_FREE " AND " CHILDREN " = 1 END) "                                                  \
    "FROM run CROSS JOIN images ON path = place"
/* Whether an image is the live top of one device, and of nothing else. */
#define IS_LIVE_TOP                                                                                \
    "((SELECT count(*) FROM devices WHERE top_image = images.path) = 1 AND "                       \
    "EXISTS (SELECT 1 FROM devices WHERE top_image = images.path AND state = 'attached' AND "      \
    "read_only = 0) AND NOT EXISTS (" IMAGE_TO_BE_TOP ") AND "                                     \
    "NOT EXISTS (" IMAGE_GROUPS ") AND " CHILDREN " = 0)"
/* The same for an upper image that is one, and the base right beneath it. */
#define CHECK_COLLAPSE                                                                             \
    "WITH RECURSIVE " CHAIN ", " BUSY ", " DOUBT ", "                                              \
    "root (is_known) AS (SELECT is_complete FROM chain CROSS JOIN images ON path = place "         \
    "WHERE backing IS NULL) "                                                                      \
    "SELECT (SELECT is_known FROM root) AND NOT " IS_DOUBTFUL " AND role = 'made' AND "            \
    "NOT is_kept AND NOT EXISTS (SELECT 1 FROM devices WHERE id = made_by) AND "                   \
    "backing = :base AND " IS_LIVE_TOP " AND "                                                     \
    "NOT EXISTS (SELECT 1 FROM busy WHERE busy_place IN (:base, :upper)) AND "                     \
    "EXISTS (SELECT 1 FROM images WHERE path = :base AND role <> 'given' AND " IS_FREE             \
    " AND " CHILDREN " = 1) FROM images WHERE path = :upper"
#define CHECK_FILE                                                                                 \
    "WITH RECURSIVE " CHAIN ", " BUSY ", " DOUBT " "                                               \
    "SELECT (SELECT is_complete FROM chain CROSS JOIN images ON path = place "                     \
    "WHERE backing IS NULL) AND NOT " IS_DOUBTFUL " AND role = 'made' AND " IS_FREE                \
    " AND " CHILDREN " = 0 AND NOT EXISTS (SELECT 1 FROM busy WHERE busy_place = :upper) "         \
    "FROM images WHERE path = :upper"

/* 1; 0: not so; -1. */
static int merge_check(struct connection *writer, const char *sql, const struct merge_row *row,
                       struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return -1;
    row_bind(&merge_table, statement, row);
    int found = statement_step(writer, statement, ErrInternalError, row->upper, err);
    return found > 0 ? sqlite3_column_int(statement, 0) : found;
}

/* Runs a change, with the row bound, and :job_id; how many rows it changed, or -1. */
static int merge_run(struct connection *writer, const char *sql, const struct merge_row *row,
                     const char *job_id, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return -1;
    row_bind(&merge_table, statement, row);
    statement_bind_text(statement, ":job_id", job_id);
    return statement_run(writer, statement, ErrInternalError, row->upper, err);
}

static int merge_insert(struct store_transaction *transaction, const char *check,
                        const char *job_id, struct merge_row *row, struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    assert(row->stage == MERGE_PLANNED);
    int result = merge_check(writer, check, row, err);
    if (result > 0)
        result =
            merge_run(writer, "INSERT INTO merges (job_id, " NAMES ") VALUES (:job_id, " VALUES ")",
                      row, job_id, err);
    if (result > 0)
        row->id = (uint64_t)sqlite3_last_insert_rowid(writer->db);
    return result < 0 ? transaction_result(transaction, -1) : result;
}

int store_merge_insert(struct store_transaction *transaction, const char *job_id,
                       struct merge_row *row, struct err *err)
{
    return merge_insert(transaction, row->base ? CHECK_RUN : CHECK_FILE, job_id, row, err);
}

int store_merge_insert_collapse(struct store_transaction *transaction, const char *job_id,
                                struct merge_row *row, struct err *err)
{
    return merge_insert(transaction, CHECK_COLLAPSE, job_id, row, err);
}

int store_merge_drop(struct store_transaction *transaction, const struct merge_row *row,
                     struct err *err)
{
    int changed =
        merge_run(transaction_writer(transaction),
                  "DELETE FROM merges WHERE id = :id AND stage = 'planned'", row, NULL, err);
    return changed < 0 ? transaction_result(transaction, -1) : changed;
}

/* Of jobs that have finished, the `heritage` of a job: of the group itself, in the same trees, and
 * files that only have to be removed. Both tables end at the lowest images of their trees. */
#define HERITAGE                                                                                   \
    "WITH RECURSIVE near (place) AS ("                                                             \
    "SELECT backing_image FROM members WHERE group_id = :group_id AND backing_image IS NOT NULL "  \
    "UNION SELECT backing FROM near CROSS JOIN images ON path = place "                            \
    "WHERE backing IS NOT NULL), "                                                                 \
    "unfinished (merge, place, is_due) AS ("                                                       \
    "SELECT merges.id, coalesce(base, upper), stage = 'redirected' OR jobs.group_id = :group_id "  \
    "FROM merges CROSS JOIN jobs ON jobs.id = job_id "                                             \
    "WHERE stage <> 'done' AND finished_at_us IS NOT NULL "                                        \
    "UNION SELECT merge, backing, is_due FROM unfinished CROSS JOIN images ON path = place "       \
    "WHERE backing IS NOT NULL), "                                                                 \
    "heritage (merge) AS (SELECT merge FROM unfinished "                                           \
    "WHERE is_due OR place IN (SELECT place FROM near)) "
#define DROP                                                                                       \
    HERITAGE "DELETE FROM merges WHERE stage = 'planned' AND id IN (SELECT merge FROM heritage)"
#define ADOPT HERITAGE "UPDATE merges SET job_id = :job_id WHERE id IN (SELECT merge FROM heritage)"
#define SET_TOTAL                                                                                  \
    "UPDATE jobs SET revision = revision + 1, total_bytes = done_bytes + "                         \
    "(SELECT coalesce(sum(max(copy_bytes - pushed_bytes, 0)), 0) FROM merges "                     \
    "WHERE job_id = :job_id AND stage IN ('planned', 'copying')) WHERE id = :job_id"

/* How many rows a change changed, with the ids bound that it names, or -1. */
static int adopt_run(struct connection *writer, const char *sql, const char *job_id,
                     const char *group_id, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":job_id", job_id);
    statement_bind_text(statement, ":group_id", group_id);
    return statement_run(writer, statement, ErrInternalError, job_id, err);
}

int store_merge_adopt(struct store_transaction *transaction, const char *job_id,
                      const char *group_id, struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    int dropped = adopt_run(writer, DROP, NULL, group_id, err);
    int adopted = dropped < 0 ? -1 : adopt_run(writer, ADOPT, job_id, group_id, err);
    if (adopted > 0 && adopt_run(writer, SET_TOTAL, job_id, NULL, err) < 0)
        adopted = -1;
    return adopted < 0 ? transaction_result(transaction, -1) : adopted;
}

/* ---- going on ---- */

int store_merge_reload(struct store *store, struct merge_row *row, struct err *err)
{
    struct merge_row now = {0};
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement =
        query_begin(&query, store, "SELECT " NAMES ", id FROM merges WHERE id = :id", err);
    if (!statement)
        return -1;
    statement_bind_int(statement, ":id", (int64_t)row->id);
    int found = statement_step(query.reader, statement, ErrInternalError, row->upper, err);
    if (found <= 0)
        return found;
    if (row_load(&merge_table, statement, &now, err) != 0)
        return -1;
    row_clear(&merge_table, row);
    *row = now;
    return 1;
}

static int merge_change(struct store_transaction *transaction, const char *sql,
                        const struct merge_row *row, struct err *err)
{
    int changed = merge_run(transaction_writer(transaction), sql, row, NULL, err);
    return changed < 0 ? transaction_result(transaction, -1) : changed;
}

/* Within the transaction, so that none that begins later sees the number before. */
static void merges_note_change(struct store_transaction *transaction)
{
    atomic_fetch_add(&transaction->merges_generation, 1);
}

uint64_t store_merges_generation(const struct store *store)
{
    return atomic_load(&store->transaction.merges_generation);
}

int store_merge_update_stage(struct store_transaction *transaction, const struct merge_row *row,
                             struct err *err)
{
    assert(row->stage == MERGE_COPYING || row->stage == MERGE_COPIED || row->stage == MERGE_DONE);
    if (row->stage == MERGE_DONE)
        merges_note_change(transaction);
    return merge_change(transaction,
                        "UPDATE merges SET stage = :stage WHERE id = :id AND stage = "
                        "CASE :stage WHEN 'copying' THEN iif(base IS NULL, '', 'planned') "
                        "WHEN 'copied' THEN 'copying' ELSE 'redirected' END",
                        row, err);
}

int store_merge_update_offset(struct store_transaction *transaction, const struct merge_row *row,
                              struct err *err)
{
    return merge_change(transaction,
                        "UPDATE merges SET offset_bytes = :offset_bytes, "
                        "pushed_bytes = :pushed_bytes "
                        "WHERE id = :id AND stage = 'copying'",
                        row, err);
}

/* Runs the steps, each with the row bound. */
static int steps_run(struct connection *writer, const char *const *steps,
                     const struct merge_row *row, struct err *err)
{
    for (; *steps; steps++)
        if (merge_run(writer, *steps, row, NULL, err) < 0)
            return -1;
    return 0;
}

/* Of the images above base up to upper; of upper where base is NULL. */
#define GOING(columns)                                                                             \
    "WITH RECURSIVE " CHAIN_FROM(                                                                  \
        "(SELECT upper FROM merges WHERE id = :id)") " SELECT " columns " FROM chain CROSS JOIN "  \
                                                     "images ON path = place "                     \
                                                     "WHERE depth < coalesce((SELECT depth FROM "  \
                                                     "chain WHERE place = "                        \
                                                     "(SELECT base FROM merges WHERE id = :id)), " \
                                                     "1)"

int store_merge_redirect(struct store_transaction *transaction, const struct merge_row *row,
                         struct err *err)
{
    static const char *const steps[] = {
        ("UPDATE merges SET files = (SELECT json_group_array(json_object('path', path, 'format', "
         "format, 'made_by', made_by, 'identity', identity)) FROM (" GOING(
             "path, format, made_by, identity") " ORDER BY depth DESC)) WHERE id = :id"),
        ("UPDATE images SET backing = merges.base FROM merges "
         "WHERE merges.id = :id AND merges.base IS NOT NULL AND images.backing = merges.upper"),
        ("UPDATE members SET backing_image = images.path, backing_file = images.path, "
         "backing_format = images.format, backing_identity = images.identity "
         "FROM merges JOIN images ON images.path = merges.base "
         "WHERE merges.id = :id AND members.backing_image = merges.upper"),
        "DELETE FROM frozen_files WHERE identity IN (" GOING("identity") ")",
        "DELETE FROM images WHERE path IN (" GOING("path") ")",
        NULL,
    };
    merges_note_change(transaction);
    int changed = merge_change(transaction,
                               "UPDATE merges SET stage = 'redirected' WHERE id = :id AND stage = "
                               "iif(base IS NULL, 'planned', 'copied')",
                               row, err);
    if (changed > 0 && steps_run(transaction_writer(transaction), steps, row, err) != 0)
        return transaction_result(transaction, -1);
    return changed;
}

/* The condition of an update: as when it was planned. */
#define MAY_COLLAPSE                                                                               \
    "EXISTS (SELECT 1 FROM images WHERE path = merges.upper AND NOT is_kept AND "                  \
    "backing = merges.base AND " IS_LIVE_TOP ") AND "                                              \
    "EXISTS (SELECT 1 FROM images WHERE path = merges.base AND " IS_FREE " AND " CHILDREN " = 1)"

int store_merge_begin_collapse(struct store_transaction *transaction, const struct merge_row *row,
                               struct err *err)
{
    return merge_change(transaction,
                        "UPDATE merges SET stage = 'copying' WHERE id = :id AND "
                        "stage = 'planned' AND " MAY_COLLAPSE,
                        row, err);
}

/* Another file that was at base's path, and is elsewhere now, stays frozen. */
#define BASE_IS_FROZEN                                                                             \
    "SELECT frozen_files.identity FROM merges CROSS JOIN images ON images.path = merges.base "     \
    "CROSS JOIN frozen_files ON frozen_files.identity = images.identity OR "                       \
    "(frozen_files.path = images.path AND NOT EXISTS (SELECT 1 FROM images AS other "              \
    "WHERE other.identity = frozen_files.identity AND other.path <> images.path)) "                \
    "WHERE merges.id = :id"

int store_merge_collapse(struct store_transaction *transaction, const struct merge_row *row,
                         struct err *err)
{
    static const char *const steps[] = {
        ("UPDATE merges SET files = (SELECT json_group_array(json_object('path', path, 'format', "
         "format, 'made_by', made_by, 'identity', identity)) FROM images WHERE path = "
         "merges.upper) WHERE id = :id"),
        ("UPDATE devices SET revision = devices.revision + 1, top = images.path, top_format = "
         "images.format, top_identity = images.identity, top_image = images.path "
         "FROM merges JOIN images ON images.path = merges.base "
         "WHERE merges.id = :id AND devices.top_image = merges.upper"),
        "DELETE FROM frozen_files WHERE identity IN (" BASE_IS_FROZEN ")",
        "DELETE FROM images WHERE path = (SELECT upper FROM merges WHERE id = :id)",
        NULL,
    };
    merges_note_change(transaction);
    int changed = merge_change(transaction,
                               "UPDATE merges SET stage = 'redirected' WHERE id = :id AND "
                               "stage = 'copying' AND " MAY_COLLAPSE,
                               row, err);
    if (changed > 0 && steps_run(transaction_writer(transaction), steps, row, err) != 0)
        return transaction_result(transaction, -1);
    return changed;
}

/* ---- plans that are due ---- */

int store_merge_find_left(struct store *store, const char *base, char group_id[STORE_ID_CHARS + 1],
                          struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    int found = query_find(&query, store,
                           "SELECT jobs.group_id FROM merges JOIN jobs ON jobs.id = job_id "
                           "WHERE base = :key AND stage <> 'done' AND " MERGE_IS_LEFT,
                           base, err);
    if (found > 0)
        snprintf(group_id, STORE_ID_CHARS + 1, "%s",
                 (const char *)sqlite3_column_text(query.statement, 0));
    return found;
}

int store_plan_next_due(struct store *store, const char *after, char **image, struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    int found = query_find(&query, store,
                           "SELECT image FROM due_plans WHERE image > :key ORDER BY image LIMIT 1",
                           after, err);
    if (found <= 0)
        return found;
    *image = strdup((const char *)sqlite3_column_text(query.statement, 0));
    return *image ? 1 : store_out_of_memory(err);
}

int store_plan_is_due(struct store *store, const char *image, struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    return query_find(&query, store, "SELECT 1 FROM due_plans WHERE image = :key", image, err);
}

int store_plan_done(struct store_transaction *transaction, const char *image, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = NULL;
    struct connection *writer = transaction_writer(transaction);
    int found =
        statement_find(writer, &statement, "DELETE FROM due_plans WHERE image = :key", image, err);
    return transaction_result(transaction, found < 0 ? -1 : 0);
}
