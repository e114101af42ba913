/* SPDX-License-Identifier: Apache-2.0
 *
 * See connection.h.
 */
#include "store/connection.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int store_out_of_memory(struct err *err)
{
    return err_set(err, ErrOutOfResources, ENOMEM, "the store cannot answer");
}

int connection_fail(struct connection *connection, struct err *err)
{
    connection->has_failed = true;
    /* SQLite passes over an error of fcntl when it unlocks: the lock stays until the connection
     * that has it is closed, too. */
    if (sqlite3_errcode(connection->db) == SQLITE_PROTOCOL && connection->other)
        connection->other->has_failed = true;
    int errnum = sqlite3_system_errno(connection->db);
    if (sqlite3_errcode(connection->db) == SQLITE_FULL && !errnum)
        errnum = ENOSPC;
    return err_set(err, ErrStoreFailed, errnum, "database '%s': %s", connection->path,
                   sqlite3_errmsg(connection->db));
}

int connection_open(struct connection *connection, int flags, struct err *err)
{
    assert(!connection->db);
    connection->has_failed = connection->has_log_room = false;
    if (sqlite3_open_v2(connection->path, &connection->db, flags | SQLITE_OPEN_FULLMUTEX, NULL) !=
        SQLITE_OK)
        return connection->db ? connection_fail(connection, err) : store_out_of_memory(err);
    sqlite3_extended_result_codes(connection->db, 1);
    sqlite3_busy_timeout(connection->db, CONNECTION_BUSY_MS);
    return 0;
}

void connection_close(struct connection *connection)
{
    for (size_t i = 0; i < CONNECTION_STATEMENTS_MAX; i++)
        sqlite3_finalize(steal(connection->statements[i]));
    int rc = sqlite3_close(steal(connection->db));
    assert(rc == SQLITE_OK); /* else a statement was not finalised */
    (void)rc;
}

int connection_execute(struct connection *connection, const char *sql, struct err *err)
{
    return sqlite3_exec(connection->db, sql, NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : connection_fail(connection, err);
}

/* An end makes a statement free: it is reset, and its texts are no longer borrowed. */
sqlite3_stmt *statement_begin(struct connection *connection, const char *sql, struct err *err)
{
    sqlite3_stmt **kept = connection->statements;
    for (size_t i = 0; i < CONNECTION_STATEMENTS_MAX && kept[i]; i++)
        if (strcmp(sqlite3_sql(kept[i]), sql) == 0) {
            assert(!sqlite3_stmt_busy(kept[i]));
            return kept[i];
        }
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v3(connection->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) !=
        SQLITE_OK) {
        connection_fail(connection, err);
        return NULL;
    }
    unsigned *next = &connection->statement_next;
    while (kept[*next] && sqlite3_stmt_busy(kept[*next]))
        *next = (*next + 1) % CONNECTION_STATEMENTS_MAX;
    sqlite3_finalize(kept[*next]);
    kept[*next] = statement;
    *next = (*next + 1) % CONNECTION_STATEMENTS_MAX;
    return statement;
}

void statement_end(sqlite3_stmt *statement)
{
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
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

int statement_step(struct connection *connection, sqlite3_stmt *statement, enum err_code taken,
                   const char *name, struct err *err)
{
    assert(sqlite3_db_handle(statement) == connection->db);
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY)
        return err_set(err, taken, 0, "'%s' exists already", name);
    if ((rc & 0xff) != SQLITE_BUSY)
        return connection_fail(connection, err);
    return err_set(err, ErrStoreBusy, 0,
                   "database '%s' is locked by another program; nothing was changed, try again",
                   connection->path);
}

int statement_find(struct connection *connection, sqlite3_stmt **statement, const char *sql,
                   const char *key, struct err *err)
{
    assert(!*statement);
    *statement = statement_begin(connection, sql, err);
    if (!*statement)
        return -1;
    statement_bind_text(*statement, ":key", key);
    return statement_step(connection, *statement, ErrInternalError, key, err);
}

int statement_run(struct connection *connection, sqlite3_stmt *statement, enum err_code taken,
                  const char *name, struct err *err)
{
    if (statement_step(connection, statement, taken, name, err) < 0)
        return -1;
    return sqlite3_changes(connection->db);
}
