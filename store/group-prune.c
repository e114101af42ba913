/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-prune.h. A few rows are looked at each time, from the oldest on. Where all of them are
 * referred to the next time goes on after them, until it finds none that is too old.
 */
#include "store/group-prune.h"

#include "store/limits.h"

/* More than one, so that a backlog ends; few, so that no insert takes long. */
#define PRUNED_AT_ONCE 8

#define WINDOW(among)                                                                              \
    "few AS (SELECT sequence, created_at_us FROM groups WHERE " among                              \
    " AND sequence > :after ORDER BY sequence LIMIT :count), "                                     \
    "old AS (SELECT sequence FROM few WHERE created_at_us < :oldest OR sequence <= "               \
    "(SELECT sequence FROM groups WHERE " among " ORDER BY sequence DESC LIMIT 1 OFFSET :kept))"
#define FIND(among)                                                                                \
    "WITH " WINDOW(among) " SELECT (SELECT count(*) FROM old), count(*), max(sequence) FROM few"
#define DELETE(among) "WITH " WINDOW(among) " DELETE FROM groups WHERE sequence IN old"
#define IS_REFERRED_TO                                                                             \
    "(EXISTS (SELECT 1 FROM devices WHERE origin_group = groups.id) OR "                           \
    "EXISTS (SELECT 1 FROM groups AS other WHERE other.rolled_back_to = groups.id) OR "            \
    "EXISTS (SELECT 1 FROM jobs WHERE group_id = groups.id) OR "                                   \
    "EXISTS (SELECT 1 FROM merges WHERE group_id = groups.id) OR "                                 \
    "EXISTS (SELECT 1 FROM idempotency_keys WHERE resource_kind = 'group' AND "                    \
    "resource_id = groups.id))"

/* Each has an index of its sequences. */
#define ABORTED "state = 'aborted'"
#define DELETED "state = 'deleted' AND kind <> 'cut'"
#define CUTS    "state = 'deleted' AND kind = 'cut'"
static const struct {
    const char *find, *delete;
    unsigned kept, days;
} histories[STORE_HISTORIES] = {
    {FIND(ABORTED), DELETE(ABORTED), STORE_ABORTED_GROUPS_MAX, STORE_ABORTED_DAYS_MAX},
    {FIND(DELETED), DELETE(DELETED) " AND NOT " IS_REFERRED_TO, STORE_DELETED_GROUPS_MAX,
     STORE_DELETED_DAYS_MAX},
    {FIND(CUTS), DELETE(CUTS) " AND NOT " IS_REFERRED_TO, STORE_DELETED_GROUPS_MAX,
     STORE_DELETED_DAYS_MAX},
};

static sqlite3_stmt *history_begin(struct connection *writer, const char *sql, size_t history,
                                   uint64_t after, uint64_t now_us, struct err *err)
{
    const uint64_t age_us = (uint64_t)histories[history].days * 24 * 3600 * 1000000;
    sqlite3_stmt *statement = statement_begin(writer, sql, err);
    if (!statement)
        return NULL;
    statement_bind_int(statement, ":oldest", now_us > age_us ? (int64_t)(now_us - age_us) : 0);
    statement_bind_int(statement, ":kept", histories[history].kept);
    statement_bind_int(statement, ":count", PRUNED_AT_ONCE);
    statement_bind_int(statement, ":after", (int64_t)after);
    return statement;
}

/* How many groups it deleted; -1. */
static int history_delete(struct connection *writer, size_t history, uint64_t after,
                          uint64_t now_us, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement =
        history_begin(writer, histories[history].delete, history, after, now_us, err);
    return statement ? statement_run(writer, statement, ErrInternalError, "", err) : -1;
}

static int history_prune(struct connection *writer, size_t history, uint64_t *after,
                         uint64_t now_us, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement =
        history_begin(writer, histories[history].find, history, *after, now_us, err);
    if (!statement || statement_step(writer, statement, ErrInternalError, "", err) < 0)
        return -1;
    bool has_old = sqlite3_column_int64(statement, 0) > 0;
    bool has_more = sqlite3_column_int64(statement, 1) == PRUNED_AT_ONCE;
    uint64_t last = (uint64_t)sqlite3_column_int64(statement, 2);
    int deleted = has_old ? history_delete(writer, history, *after, now_us, err) : 0;
    if (deleted == 0)
        *after = has_old && has_more ? last : 0;
    return deleted < 0 ? -1 : 0;
}

int groups_prune(struct store_transaction *transaction, uint64_t now_us, struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    for (size_t i = 0; i < STORE_HISTORIES; i++)
        if (history_prune(writer, i, &transaction->pruned_after[i], now_us, err) != 0)
            return -1;
    return 0;
}
