/* SPDX-License-Identifier: Apache-2.0
 *
 * What the store's files share: the connection, transactions, statements. Private to store/.
 *
 * A query function reads:
 *
 *     CLEANUP(store) struct store *held = store_enter_reader(store, err);      lock, refuse if failed
 *     if (!held) return -1;
 *     CLEANUP(statement) sqlite3_stmt *statement = statement_new(held, "SELECT ...", err);
 *     if (!statement) return -1;
 *     ... bind, statement_step ...
 *
 * A change begins with store_enter() and stands between transaction_begin and transaction_end.
 */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "store/store.h"

#include <sqlite3.h>
#include <stdatomic.h>

struct store {
    pthread_mutex_t lock; /* guards all below */
    sqlite3 *db;
    atomic_bool
        has_failed; /* the outcome of the last change is unknown, or the file has moved; cleared under `lock` */
    char *path;
    int lock_fd; /* one process per database */
    dev_t dev;   /* the database's file, since the start */
    ino_t ino;
    bool is_reader;
    struct store
        *reader; /* a read-only connection with a lock of its own; opened when it is needed */
};

/* Takes the lock; NULL and *err if the store has failed. */
struct store *store_enter(struct store *store, struct err *err);

/* The same for queries alone: the connection that they have for themselves, so that none waits for a change
 * or for another program's lock. All until store_leave() sees what was committed at one moment. */
struct store *store_enter_reader(struct store *store, struct err *err);
void store_leave(struct store *store);
CLEANUP_DEFINE(store, struct store *, store_leave)

/* Marks the store failed and fills *err from SQLite's last error. Returns -1. */
int store_fail(struct store *store, struct err *err);

int transaction_begin(struct store *store, struct err *err);

/* Commits if `ret` is 0, rolls back otherwise; returns `ret`, or -1 when the commit failed. */
int transaction_end(struct store *store, int ret, struct err *err);

/* A prepared statement, or NULL and *err with the store failed. */
sqlite3_stmt *statement_new(struct store *store, const char *sql, struct err *err);
CLEANUP_DEFINE(statement, sqlite3_stmt *, sqlite3_finalize)

/* Text of NULL binds NULL; borrowed until the statement is finalised. */
void statement_bind_text(sqlite3_stmt *statement, const char *parameter, const char *text);
void statement_bind_int(sqlite3_stmt *statement, const char *parameter, int64_t value);

/* 1: a row; 0: done; -1: *err. `taken` says which code a broken uniqueness has. */
int statement_step(struct store *store, sqlite3_stmt *statement, enum err_code taken,
                   const char *name, struct err *err);

/* Runs a change; how many rows it hit, or -1 and *err. */
int statement_run(struct store *store, sqlite3_stmt *statement, enum err_code taken,
                  const char *name, struct err *err);

/* Records files as frozen, within the caller's transaction. */
int frozen_files_insert(struct store *store, const struct frozen_file_row *rows, size_t count,
                        struct err *err);

/* A column's text on the heap; NULL for NULL. Sets *short_of_memory. */
char *statement_text(sqlite3_stmt *statement, int column, bool *short_of_memory);

int store_out_of_memory(struct err *err);

/* What a column holds makes no sense: StoreFailed naming table and column. Returns -1. */
int statement_nonsense(const char *table, const char *column, struct err *err);

/* Whether the text is one of `count` names; its position in *position. A column that may not be NULL and
 * is, or is something else, is nonsense. */
int statement_choice(sqlite3_stmt *statement, int column, const char *const *names, int count,
                     int *position, const char *table, struct err *err);

/* None of the `count` columns, which may not be NULL, is. */
int statement_check_there(sqlite3_stmt *statement, const int *columns, size_t count,
                          const char *table, struct err *err);

/* database-file.c: new files in the database's directory are overwritten in place on btrfs. SQLite maps one of
 * them (-shm), and a store into a mapping whose page must be copied kills the process where there is no space
 * for the copy. */
void database_prepare_directory(const struct store *store);

/* database-file.c: which file the database is. All 0, or -1 and *err (StoreFailed). */
int database_may_be_created(const struct store *store, bool *may_be, struct err *err);
int database_check_application(struct store *store, int application_id, struct err *err);

/* Compares with what stands beside it, if anything does; before anything is changed. */
int database_check_id(struct store *store, struct err *err);

/* At the start, once the schema is there: which file it is, and its id beside it. */
int database_record_id(struct store *store, struct err *err);

/* Whether the path still leads to the file that is open. */
bool database_is_in_place(const struct store *store);
int database_moved(const struct store *store, struct err *err); /* returns -1 */

#endif
