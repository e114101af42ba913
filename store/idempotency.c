/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `idempotency_keys`. See idempotency.h.
 */
#include "store/idempotency.h"

#include "store/access.h"

#define ROW struct key_row
#define COLUMNS(FIRST, X)                                                                          \
    FIRST(caller, TEXT)                                                                            \
    X(key, TEXT)                                                                                   \
    X(request_hash, TEXT)                                                                          \
    X(request_id, TEXT)                                                                            \
    X(created_at_us, INTEGER)                                                                      \
    X(resource_kind, TEXT_OR_NULL)                                                                 \
    X(resource_id, TEXT_OR_NULL)                                                                   \
    X(status, INTEGER, KNOWN_BY(has_answer))                                                       \
    X(headers, TEXT_OR_NULL)                                                                       \
    X(body, TEXT_OR_NULL)
#define NAMES  COLUMN_NAMES(COLUMNS)
#define VALUES COLUMN_VALUES(COLUMNS)

static const struct column columns[] = {COLUMN_ENTRIES(COLUMNS)};
static const struct table keys = {TABLE("idempotency_keys")};

/* More than one, so that a backlog ends; few, so that no insert takes long. */
#define PRUNED_AT_ONCE 8

void key_row_clear(struct key_row *row)
{
    row_clear(&keys, row);
}

void store_keys_keep(struct store *store, uint64_t seconds)
{
    atomic_store(&store->transaction.keys_kept_us, seconds * 1000000);
}

uint64_t store_keys_kept(const struct store *store)
{
    return atomic_load(&store->transaction.keys_kept_us) / 1000000;
}

/* When keys were made that end now. */
static int64_t key_ended_us(const struct store_transaction *transaction, uint64_t now_us)
{
    uint64_t age_us = atomic_load(&transaction->keys_kept_us);
    return now_us > age_us ? (int64_t)(now_us - age_us) : 0;
}

int store_key_get(struct store *store, const char *caller, const char *key, uint64_t now_us,
                  struct key_row *row, struct err *err)
{
    CLEANUP_BY(query_end) struct query query = {0};
    sqlite3_stmt *statement =
        query_begin(&query, store,
                    "SELECT " NAMES " FROM idempotency_keys WHERE caller = :caller AND "
                    "key = :key AND created_at_us >= :ended",
                    err);
    if (!statement)
        return -1;
    statement_bind_text(statement, ":caller", caller);
    statement_bind_text(statement, ":key", key);
    statement_bind_int(statement, ":ended", key_ended_us(&store->transaction, now_us));
    int found = statement_step(query.reader, statement, ErrInternalError, key, err);
    return found > 0 && row_load(&keys, statement, row, err) != 0 ? -1 : found;
}

/* Runs a change with the row's columns and :ended bound; how many rows it changed, or -1. */
static int key_run(struct store_transaction *transaction, const char *sql,
                   const struct key_row *row, struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return -1;
    row_bind(&keys, statement, row);
    statement_bind_int(statement, ":ended", key_ended_us(transaction, row->created_at_us));
    statement_bind_int(statement, ":count", PRUNED_AT_ONCE);
    statement_bind_int(statement, ":kept", STORE_KEYS_MAX);
    return statement_run(writer, statement, ErrInternalError, row->key, err);
}

/* Of the caller's keys, the oldest of those whose time compares so with that of the newest. */
#define OLDEST(comparison)                                                                         \
    "SELECT * FROM (SELECT caller, key FROM idempotency_keys WHERE caller = :caller AND "          \
    "created_at_us " comparison " :created_at_us ORDER BY created_at_us LIMIT (SELECT n FROM "     \
    "surplus))"

/* Those of a time to come were made before the clock was set back, so before all others: the time
 * of a key is read in the transaction that inserts it. */
static int keys_prune(struct store_transaction *transaction, const struct key_row *row,
                      struct err *err)
{
    if (key_run(transaction,
                "DELETE FROM idempotency_keys WHERE (caller, key) IN (SELECT caller, key FROM "
                "idempotency_keys WHERE created_at_us < :ended ORDER BY created_at_us LIMIT "
                ":count)",
                row, err) < 0)
        return -1;
    return key_run(transaction,
                   "WITH surplus (n) AS MATERIALIZED (SELECT max(0, min(:count, (SELECT count(*) "
                   "FROM idempotency_keys WHERE caller = :caller) - :kept))) "
                   "DELETE FROM idempotency_keys WHERE (caller, key) IN (SELECT caller, key FROM "
                   "(" OLDEST(">") " UNION ALL " OLDEST("<=") ") LIMIT (SELECT n FROM surplus))",
                   row, err);
}

static int key_insert(struct store_transaction *transaction, const struct key_row *row,
                      struct err *err)
{
    int changed = key_run(transaction,
                          "INSERT INTO idempotency_keys (" NAMES ") VALUES (" VALUES
                          ") ON CONFLICT (caller, key) DO UPDATE SET "
                          "request_hash = excluded.request_hash, request_id = excluded.request_id, "
                          "created_at_us = excluded.created_at_us, "
                          "resource_kind = excluded.resource_kind, "
                          "resource_id = excluded.resource_id, status = excluded.status, "
                          "headers = excluded.headers, body = excluded.body "
                          "WHERE status IS NULL OR created_at_us < :ended",
                          row, err);
    if (changed == 0)
        err_set(err, ErrInternalError, 0, "the key '%s' has an answer already", row->key);
    return changed > 0 && keys_prune(transaction, row, err) >= 0 ? 0 : -1;
}

int store_key_insert(struct store_transaction *transaction, const struct key_row *row,
                     struct err *err)
{
    return transaction_result(transaction, key_insert(transaction, row, err));
}

int store_key_answer(struct store_transaction *transaction, const struct key_row *row,
                     struct err *err)
{
    int changed =
        key_run(transaction,
                "UPDATE idempotency_keys SET status = :status, headers = :headers, body = :body "
                "WHERE caller = :caller AND key = :key AND request_id = :request_id AND "
                "status IS NULL",
                row, err);
    if (changed < 0)
        return transaction_result(transaction, -1);
    return changed > 0 ? 0 : store_key_insert(transaction, row, err);
}
