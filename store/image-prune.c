/* SPDX-License-Identifier: Apache-2.0
 *
 * See image-prune.h. A few rows are looked at each time, in the order of their insertion; after the
 * last ones it begins anew. No file is looked at: whether one exists decides nothing here.
 *
 * Invariants:
 *   I1. A row goes only if nothing names it, nothing stands on it, and it is known to stand on
 *       nothing. So what may be written, merged or removed of all other images stays what it was.
 *       No assert: the statement below is what it says.
 *   I2. An image whose row went has the role of its next use: `given`, which is never written or
 *       removed, or `attached` if a device writes to it, as if its row had stayed. No row of an
 *       image goes that the daemon may remove (`made`). No assert: likewise.
 *
 * An image that stands on another one keeps its row, though its file may be gone: it may only have
 * been moved for a while, and what it stands on would be merged or removed meanwhile. Whoever
 * deletes a group of its tree looks for it.
 */
#include "store/image-prune.h"

/* More than one attach records, as a rule, so that a backlog ends; few, so that no detach takes
 * long. */
enum { LOOKED_AT_ONCE = 8, ROWS_KEPT = 1000 };

#define FEW                                                                                        \
    "few (number) AS (SELECT rowid FROM images WHERE rowid > :after ORDER BY rowid LIMIT :count)"

static const char FIND[] = "WITH " FEW " SELECT count(*), max(number) FROM few";

static const char DELETE[] =
    "WITH " FEW " DELETE FROM images WHERE rowid IN few "
    "AND rowid <= (SELECT max(rowid) FROM images) - :kept "
    "AND role <> 'made' AND is_complete AND backing IS NULL "
    "AND NOT EXISTS (SELECT 1 FROM images AS child WHERE child.backing = images.path) "
    "AND NOT EXISTS (SELECT 1 FROM devices WHERE top_image = images.path) "
    "AND NOT EXISTS (SELECT 1 FROM members WHERE backing_image = images.path) "
    "AND path NOT IN (SELECT upper FROM merges UNION ALL "
    "SELECT base FROM merges WHERE base IS NOT NULL) "
    "AND path NOT IN (SELECT roots.value FROM jobs, json_each(jobs.spec, '$.roots') AS roots "
    "WHERE roots.value IS NOT NULL) "
    "AND path NOT IN (SELECT path FROM frozen_files) "
    "AND (identity IS NULL OR NOT EXISTS "
    "(SELECT 1 FROM frozen_files WHERE frozen_files.identity = images.identity))";

static sqlite3_stmt *prune_begin(struct connection *writer, const char *sql, uint64_t after,
                                 struct err *err)
{
    sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return NULL;
    statement_bind_int(statement, ":after", (int64_t)after);
    statement_bind_int(statement, ":count", LOOKED_AT_ONCE);
    return statement;
}

int images_prune(struct store_transaction *transaction, struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    uint64_t *after = &transaction->pruned_images_after;
    CLEANUP(statement) sqlite3_stmt *find = prune_begin(writer, FIND, *after, err);
    if (!find || statement_step(writer, find, ErrInternalError, "", err) < 0)
        return -1;
    bool has_more = sqlite3_column_int64(find, 0) == LOOKED_AT_ONCE;
    uint64_t last = (uint64_t)sqlite3_column_int64(find, 1);
    CLEANUP(statement) sqlite3_stmt *delete = prune_begin(writer, DELETE, *after, err);
    if (!delete)
        return -1;
    statement_bind_int(delete, ":kept", ROWS_KEPT);
    if (statement_run(writer, delete, ErrInternalError, "", err) < 0)
        return -1;
    *after = has_more ? last : 0;
    return 0;
}
