/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `holds`. See holds.h.
 */
#include "store/holds.h"

#include "store/access.h"

/* Runs a statement with what its parameters name; how many rows it changed, or -1. */
static int hold_run(struct connection *writer, const char *sql, const struct group_row *row,
                    const char *name, uint64_t now_us, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":id", row->id);
    statement_bind_int(statement, ":revision", (int64_t)row->revision);
    statement_bind_text(statement, ":name", name);
    statement_bind_int(statement, ":now_us", (int64_t)now_us);
    return statement_run(writer, statement, ErrInternalError, name, err);
}

static int hold_change(struct store_transaction *transaction, const char *sql,
                       const struct group_row *row, const char *name, uint64_t now_us,
                       struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    int changed = hold_run(writer,
                           "UPDATE groups SET revision = revision + 1 "
                           "WHERE id = :id AND revision = :revision",
                           row, name, now_us, err);
    if (changed > 0 && hold_run(writer, sql, row, name, now_us, err) < 0)
        changed = -1;
    return changed < 0 ? transaction_result(transaction, -1) : changed;
}

int store_hold_insert(struct store_transaction *transaction, const struct group_row *row,
                      const char *name, uint64_t now_us, struct err *err)
{
    return hold_change(transaction, "INSERT INTO holds VALUES (:id, :name, :now_us)", row, name,
                       now_us, err);
}

int store_hold_delete(struct store_transaction *transaction, const struct group_row *row,
                      const char *name, struct err *err)
{
    return hold_change(transaction, "DELETE FROM holds WHERE group_id = :id AND name = :name", row,
                       name, 0, err);
}
