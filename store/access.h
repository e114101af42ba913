/* SPDX-License-Identifier: Apache-2.0
 *
 * The store's two connections and who may use which. Private to store/.
 *
 *   writer   changes, and nothing but changes: within a transaction, whose thread holds writer.lock
 *            from store_begin() to store_commit() or store_rollback(). A failure leaves the outcome
 *            unknown: the whole store has failed until store_reopen().
 *   reader   queries: read-only, each between reader_begin() and reader_end(), under reader.lock.
 *            It sees one committed state of the database and waits for no change, nor for another
 *            program's lock. A failure ends that query only; the next one opens the connection
 *            again.
 *
 * Locks, in the order they are taken: writer.lock, then reader.lock or listener_lock.
 */
#ifndef STORE_ACCESS_H
#define STORE_ACCESS_H

#include "store/connection.h"
#include "store/database-file.h"
#include "store/table.h"

#define STORE_HISTORIES 3 /* of groups; see group-prune.c */

enum transaction_state {
    TRANSACTION_CLOSED,
    TRANSACTION_OPEN,
    TRANSACTION_REFUSED, /* a query failed: all that is left is to roll back */
};

struct store_transaction {
    struct connection *writer; /* whose lock guards `state` */
    enum transaction_state state;
    bool changes_devices;                     /* a row of `devices` */
    atomic_uint_least64_t devices_generation; /* any thread */
    atomic_uint_least64_t merges_generation;  /* any thread: store_merges_generation() */
    bool has_events;                          /* inserted by it */
    pthread_mutex_t listener_lock;            /* taken last; nothing waits under it */
    int listener_fd; /* listener_lock: store_events_listen(), + 1; 0: nobody listens */
    uint64_t pruned_after[STORE_HISTORIES]; /* sequences of groups: where group-prune.c goes on */
    uint64_t pruned_images_after;           /* the same of image-prune.c: a rowid */
    atomic_uint_least64_t keys_kept_us;     /* store_keys_keep(); any thread */
};

struct store {
    struct connection writer, reader;
    struct store_transaction transaction;
    struct database_file file;
    int lock_fd; /* one process per database */
};

/* 0 unless the store has failed, or its file is not in its place any more, which makes it fail. */
int store_check(struct store *store, struct err *err);

/* The connection on which queries run until reader_end(), or NULL and *err. */
struct connection *reader_begin(struct store *store, struct err *err);
void reader_end(struct connection *reader);
CLEANUP_DEFINE(reader, struct connection *, reader_end)

/* A query on the reader, from query_begin() to query_end(). Begins as {0}. */
struct query {
    struct connection *reader;
    sqlite3_stmt *statement;
};

/* The statement of `sql`, to be bound and stepped, or NULL and *err; query_end() either way. */
sqlite3_stmt *query_begin(struct query *query, struct store *store, const char *sql,
                          struct err *err);
void query_end(struct query *query);

/* Begins a query, and looks for the row that `sql` finds for :key: 1; 0: there is none; -1:
 * *err. */
int query_find(struct query *query, struct store *store, const char *sql, const char *key,
               struct err *err);

/* The row that `sql` finds for :key: 1; 0: there is none; -1: *err. */
int reader_get(struct store *store, const struct table *table, const char *sql, const char *key,
               void *row, struct err *err);

/* The rows of `sql` with :after (NULL: "") and :limit bound. */
int reader_list(struct store *store, const struct table *table, const char *sql, const char *after,
                size_t limit, void **rows, size_t *count, struct err *err);

/* The connection of a transaction that is open. */
struct connection *transaction_writer(const struct store_transaction *transaction);

/* Every query that changes returns through this: a query that failed leaves its transaction
 * refused. */
int transaction_result(struct store_transaction *transaction, int result);

#endif
