/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `tokens`. See tokens.h.
 */
#include "store/tokens.h"

#include "store/access.h"

#include <string.h>

#define ROW struct token_row
#define COLUMNS(FIRST, X)                                                                          \
    FIRST(id, ID)                                                                                  \
    X(name, TEXT)                                                                                  \
    X(scope, CHOICE)                                                                               \
    X(hash, TEXT)                                                                                  \
    X(created_at_us, INTEGER)                                                                      \
    X(expires_at_us, INTEGER, KNOWN_BY(has_expiry))
#define NAMES  COLUMN_NAMES(COLUMNS)
#define VALUES COLUMN_VALUES(COLUMNS)

static const char *const scope_names[] = {
    [SCOPE_NONE] = "none",
    [SCOPE_READ] = "read",
    [SCOPE_SNAPSHOT] = "snapshot",
    [SCOPE_ADMIN] = "admin",
};
static const struct column columns[] = {COLUMN_ENTRIES(COLUMNS)};
static const struct table tokens = {TABLE("tokens"), .choices = scope_names,
                                    .choice_count = SCOPE_ADMIN + 1};

/* More than one, so that a backlog ends; few, so that no insert takes long. */
#define PRUNED_AT_ONCE 8

const char *scope_name(enum scope scope)
{
    return scope_names[scope];
}

enum scope scope_from_name(const char *name)
{
    enum scope scope = SCOPE_ADMIN;
    while (scope > SCOPE_NONE && strcmp(scope_names[scope], name) != 0)
        scope--;
    return scope;
}

void token_row_clear(struct token_row *row)
{
    row_clear(&tokens, row);
}

void token_rows_free(struct token_row *rows, size_t count)
{
    rows_free(&tokens, rows, count);
}

static int token_not_found(const char *id_or_name, struct err *err)
{
    return err_set(err, ErrTokenNotFound, 0, "there is no token '%s'", id_or_name);
}

static int token_change(struct store_transaction *transaction, const char *sql,
                        const struct token_row *row, struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    int changed = row_run(&tokens, writer, sql, row, ErrTokenExists, row->name, err);
    if (changed == 0)
        token_not_found(row->id, err);
    return transaction_result(transaction, changed > 0 ? 0 : -1);
}

int store_tokens_prune(struct store_transaction *transaction, uint64_t now_us, struct err *err)
{
    const uint64_t age_us = (uint64_t)STORE_TOKEN_DAYS_MAX * 24 * 3600 * 1000000;
    struct connection *writer = transaction_writer(transaction);
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_begin(
        writer,
        "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE expires_at_us < :ended "
        "ORDER BY expires_at_us LIMIT :count)",
        err);
    if (!statement)
        return transaction_result(transaction, -1);
    statement_bind_int(statement, ":ended", now_us > age_us ? (int64_t)(now_us - age_us) : 0);
    statement_bind_int(statement, ":count", PRUNED_AT_ONCE);
    int changed = statement_run(writer, statement, ErrInternalError, "", err);
    return transaction_result(transaction, changed < 0 ? -1 : 0);
}

int store_token_insert(struct store_transaction *transaction, const struct token_row *row,
                       struct err *err)
{
    if (store_tokens_prune(transaction, row->created_at_us, err) != 0)
        return -1;
    return token_change(transaction, "INSERT INTO tokens (" NAMES ") VALUES (" VALUES ")", row,
                        err);
}

int store_token_delete(struct store_transaction *transaction, const struct token_row *row,
                       struct err *err)
{
    return token_change(transaction, "DELETE FROM tokens WHERE id = :id", row, err);
}

int store_token_get(struct store *store, const char *id_or_name, struct token_row *row,
                    struct err *err)
{
    int found =
        reader_get(store, &tokens, "SELECT " NAMES " FROM tokens WHERE id = :key OR name = :key",
                   id_or_name, row, err);
    if (found == 0)
        return token_not_found(id_or_name, err);
    return found < 0 ? -1 : 0;
}

int store_token_list(struct store *store, const char *after, size_t limit, struct token_row **rows,
                     size_t *count, struct err *err)
{
    return reader_list(store, &tokens,
                       "SELECT " NAMES
                       " FROM tokens WHERE name > :after ORDER BY name LIMIT :limit",
                       after, limit, (void **)rows, count, err);
}
