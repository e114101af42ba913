/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection to the database, and statements on it. Private to store/.
 *
 * A broken uniqueness is an answer (a name is taken) and leaves the connection well. So does
 * another program that holds the write lock: in WAL mode only the begin of a transaction needs that
 * lock. Any other error of SQLite marks the connection failed: the content of the disk is no longer
 * known.
 */
#ifndef STORE_CONNECTION_H
#define STORE_CONNECTION_H

#include "base/cleanup.h"
#include "base/err.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Statements that are kept prepared. */
enum { CONNECTION_STATEMENTS_MAX = 64 };

struct connection {
    pthread_mutex_t lock; /* its holder alone uses the connection */
    sqlite3 *db;          /* NULL: closed */
    const char *path;
    atomic_bool has_failed;   /* cleared under `lock`, read without */
    struct connection *other; /* NULL, or the one that keeps a lock if this one is locked out */
    sqlite3_stmt *statements[CONNECTION_STATEMENTS_MAX]; /* NULL: free */
    unsigned statement_next;                             /* the next one to give way to another */
    bool has_log_room;                                   /* or was refused it: log-room.h */
};

/* How long SQLite waits for locks of other programs. */
#define CONNECTION_BUSY_MS 5000

/* Opens with SQLite's `flags`. */
int connection_open(struct connection *connection, int flags, struct err *err);
void connection_close(struct connection *connection);

/* Marks the connection failed and fills *err from SQLite's last error. Returns -1. */
int connection_fail(struct connection *connection, struct err *err);

/* Runs statements that return no rows; whatever fails, the connection has failed. */
int connection_execute(struct connection *connection, const char *sql, struct err *err);

int store_out_of_memory(struct err *err);

/* A prepared statement that nobody else uses, or NULL and *err with the connection failed. The
 * connection keeps it for the next one with the same text. */
sqlite3_stmt *statement_begin(struct connection *connection, const char *sql, struct err *err);
void statement_end(sqlite3_stmt *statement);
CLEANUP_DEFINE(statement, sqlite3_stmt *, statement_end)

/* Text is borrowed until the statement is ended; NULL binds NULL. A parameter that the
 * statement does not have is skipped; one that is never bound is NULL. */
void statement_bind_text(sqlite3_stmt *statement, const char *parameter, const char *text);
void statement_bind_int(sqlite3_stmt *statement, const char *parameter, int64_t value);

/* 1: a row; 0: no more rows; -1: *err. A broken uniqueness is reported as `taken`, naming `name`;
 * StoreBusy: another program has the write lock, and nothing was changed. */
int statement_step(struct connection *connection, sqlite3_stmt *statement, enum err_code taken,
                   const char *name, struct err *err);

/* Begins `*statement`, which was NULL, and looks for the row that `sql` finds for :key: 1; 0: there
 * is none; -1: *err. */
int statement_find(struct connection *connection, sqlite3_stmt **statement, const char *sql,
                   const char *key, struct err *err);

/* Runs a change; how many rows it changed, or -1 and *err. */
int statement_run(struct connection *connection, sqlite3_stmt *statement, enum err_code taken,
                  const char *name, struct err *err);

#endif
