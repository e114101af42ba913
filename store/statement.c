/* SPDX-License-Identifier: Apache-2.0
 *
 * Statements and transactions. See internal.h.
 *
 * A constraint that is broken is the caller's news (a name is taken) and leaves the store well; so does
 * another program that holds the write lock, for WAL needs it only where a change begins. Any other error
 * of SQLite leaves the store failed: what is on the disk is not known any more.
 */
#include "store/internal.h"

#include <string.h>

/* Another connection holds the write lock: nothing was changed, and the store is well. */
static int store_busy(struct store *store, struct err *err)
{
    return err_set(err, ErrStoreBusy, 0,
                   "database '%s' is locked by another program; nothing was changed, try again",
                   store->path);
}

sqlite3_stmt *statement_new(struct store *store, const char *sql, struct err *err)
{
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK)
        store_fail(store, err);
    return statement;
}

void statement_bind_text(sqlite3_stmt *statement, const char *parameter, const char *text)
{
    sqlite3_bind_text(statement, sqlite3_bind_parameter_index(statement, parameter), text, -1,
                      SQLITE_STATIC);
}

void statement_bind_int(sqlite3_stmt *statement, const char *parameter, int64_t value)
{
    sqlite3_bind_int64(statement, sqlite3_bind_parameter_index(statement, parameter), value);
}

int statement_step(struct store *store, sqlite3_stmt *statement, enum err_code taken,
                   const char *name, struct err *err)
{
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY)
        return err_set(err, taken, 0, "'%s' exists already", name);
    return (rc & 0xff) == SQLITE_BUSY ? store_busy(store, err) : store_fail(store, err);
}

int statement_run(struct store *store, sqlite3_stmt *statement, enum err_code taken,
                  const char *name, struct err *err)
{
    if (statement_step(store, statement, taken, name, err) < 0)
        return -1;
    return sqlite3_changes(store->db);
}

int statement_nonsense(const char *table, const char *column, struct err *err)
{
    return err_set(err, ErrStoreFailed, 0,
                   "column %s of table %s in the database makes no sense; restore the database "
                   "from a backup",
                   column, table);
}

int statement_choice(sqlite3_stmt *statement, int column, const char *const *names, int count,
                     int *position, const char *table, struct err *err)
{
    const char *text = (const char *)sqlite3_column_text(statement, column);
    for (*position = 0; text && *position < count; ++*position)
        if (strcmp(names[*position], text) == 0)
            return 0;
    return statement_nonsense(table, sqlite3_column_name(statement, column), err);
}

int statement_check_there(sqlite3_stmt *statement, const int *columns, size_t count,
                          const char *table, struct err *err)
{
    for (size_t i = 0; i < count; i++)
        if (sqlite3_column_type(statement, columns[i]) == SQLITE_NULL)
            return statement_nonsense(table, sqlite3_column_name(statement, columns[i]), err);
    return 0;
}

char *statement_text(sqlite3_stmt *statement, int column, bool *short_of_memory)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    if (!text)
        return NULL;
    char *copy = strdup((const char *)text);
    if (!copy)
        *short_of_memory = true;
    return copy;
}

int transaction_begin(struct store *store, struct err *err)
{
    int rc = sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        return 0;
    return (rc & 0xff) == SQLITE_BUSY ? store_busy(store, err) : store_fail(store, err);
}

int transaction_end(struct store *store, int ret, struct err *err)
{
    if (ret == 0 && sqlite3_exec(store->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    if (ret == 0)
        store_fail(store, err);
    /* SQLite may have rolled back by itself; then there is nothing left to do here. */
    if (!sqlite3_get_autocommit(store->db) &&
        sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        store->has_failed = true;
    return -1;
}
