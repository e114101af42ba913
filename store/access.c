/* SPDX-License-Identifier: Apache-2.0
 *
 * See access.h.
 */
#include "store/access.h"

#include <assert.h>

int store_check(struct store *store, struct err *err)
{
    if (store->writer.has_failed)
        return err_set(err, ErrStoreFailed, 0, "database '%s' failed and is not open again yet",
                       store->file.path);
    if (database_file_check_place(&store->file, err) == 0)
        return 0;
    store->writer.has_failed = true;
    return -1;
}

static int reader_execute(struct connection *reader, const char *sql, struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(reader, sql, err);
    return statement ? statement_step(reader, statement, ErrInternalError, "", err) : -1;
}

struct connection *reader_begin(struct store *store, struct err *err)
{
    struct connection *reader = &store->reader;
    if (store->writer.has_failed && store_check(store, err) != 0)
        return NULL; /* without waiting for a reopening */
    pthread_mutex_lock(&reader->lock);
    if (store_check(store, err) == 0) {
        if (reader->has_failed)
            connection_close(reader);
        if ((reader->db || connection_open(reader, SQLITE_OPEN_READONLY, err) == 0) &&
            reader_execute(reader, "BEGIN", err) == 0)
            return reader;
    }
    pthread_mutex_unlock(&reader->lock);
    return NULL;
}

void reader_end(struct connection *reader)
{
    struct err err; /* a reader that failed is opened again */
    if (!sqlite3_get_autocommit(reader->db))
        reader_execute(reader, "COMMIT", &err);
    pthread_mutex_unlock(&reader->lock);
}

sqlite3_stmt *query_begin(struct query *query, struct store *store, const char *sql,
                          struct err *err)
{
    query->reader = reader_begin(store, err);
    query->statement = query->reader ? statement_begin(query->reader, sql, err) : NULL;
    return query->statement;
}

int query_find(struct query *query, struct store *store, const char *sql, const char *key,
               struct err *err)
{
    query->reader = reader_begin(store, err);
    return query->reader ? statement_find(query->reader, &query->statement, sql, key, err) : -1;
}

void query_end(struct query *query)
{
    if (query->statement)
        statement_end(query->statement);
    if (query->reader)
        reader_end(query->reader);
}

int reader_get(struct store *store, const struct table *table, const char *sql, const char *key,
               void *row, struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    int found = query_find(&query, store, sql, key, err);
    return found > 0 && row_load(table, query.statement, row, err) != 0 ? -1 : found;
}

int reader_list(struct store *store, const struct table *table, const char *sql, const char *after,
                size_t limit, void **rows, size_t *count, struct err *err)
{
    *count = 0;
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement = query_begin(&query, store, sql, err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":after", after ? after : "");
    statement_bind_int(statement, ":limit", (int64_t)limit);
    return rows_load(query.reader, table, statement, rows, count, err);
}

struct connection *transaction_writer(const struct store_transaction *transaction)
{
    assert(transaction->state == TRANSACTION_OPEN);
    assert(!sqlite3_get_autocommit(transaction->writer->db));
    return transaction->writer;
}

int transaction_result(struct store_transaction *transaction, int result)
{
    assert(transaction->state == TRANSACTION_OPEN);
    if (result != 0)
        transaction->state = TRANSACTION_REFUSED;
    return result;
}
