/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `events`. See events.h.
 */
#include "store/events.h"

#include "store/access.h"
#include "store/tokens.h"

#include <stdio.h>
#include <string.h>

#define ROW struct event_row
#define COLUMNS(FIRST, X)                                                                          \
    FIRST(at_us, INTEGER)                                                                          \
    X(kind, CHOICE)                                                                                \
    X(device, TEXT_OR_NULL)                                                                        \
    X(group_id, TEXT_OR_NULL)                                                                      \
    X(job, TEXT_OR_NULL)                                                                           \
    X(actor, TEXT)                                                                                 \
    X(request_id, TEXT_OR_NULL)                                                                    \
    X(detail, TEXT)
#define NAMES COLUMN_NAMES(COLUMNS)

static const char *const kind_names[] = {
#define EVENT_NAME(symbol, name) [symbol] = name,
    EVENT_KINDS(EVENT_NAME)
#undef EVENT_NAME
};
static const struct column columns[] = {COLUMN_ENTRIES(COLUMNS) COLUMN_ENTRY(id, INTEGER)};
static const struct table events = {TABLE("events"), .choices = kind_names,
                                    .choice_count = EVENT_KIND_COUNT};

/* More than one, so that a backlog ends; few, so that no insert takes long. */
#define PRUNED_AT_ONCE 8

const char *event_kind_name(enum event_kind kind)
{
    return kind_names[kind];
}

enum event_kind event_kind_from_name(const char *name)
{
    int kind = 0;
    while (kind < EVENT_KIND_COUNT && strcmp(kind_names[kind], name) != 0)
        kind++;
    return (enum event_kind)kind;
}

void event_row_clear(struct event_row *row)
{
    row_clear(&events, row);
}

void event_rows_free(struct event_row *rows, size_t count)
{
    rows_free(&events, rows, count);
}

/* ---- changing ---- */

/* The detail of an event that brings none. A patch with NULL leaves the member out. */
#define GROUP_DETAIL                                                                               \
    "(SELECT json_patch(json_object('name', name, 'kind', kind, 'devices', json((SELECT "          \
    "json_group_array(device) FROM (SELECT device FROM members WHERE group_id = groups.id ORDER "  \
    "BY position)))), json_object('rolled_back_to', rolled_back_to, 'code', error_code, "          \
    "'message', error_message)) FROM groups "                                                      \
    "WHERE id = :group_id)"
#define DEVICE_DETAIL                                                                              \
    "(SELECT json_object('id', id, 'image', image, 'format', format, 'top', top) FROM devices "    \
    "WHERE name = :device)"

/* Deletes up to the first one that stays, so that no id is missing between two that are kept. */
static int events_prune(struct connection *writer, uint64_t now_us, struct err *err)
{
    const uint64_t age_us = (uint64_t)STORE_EVENT_DAYS_MAX * 24 * 3600 * 1000000;
    CLEANUP(statement)
    sqlite3_stmt *statement =
        statement_begin(writer,
                        "WITH old AS (SELECT id, at_us FROM events ORDER BY id LIMIT :count), "
                        "stays AS (SELECT min(id) AS first FROM old WHERE at_us >= :oldest AND "
                        "id > (SELECT max(id) FROM events) - :kept) "
                        "DELETE FROM events WHERE id IN (SELECT id FROM old) AND "
                        "id < coalesce((SELECT first FROM stays), 1 + (SELECT max(id) FROM old))",
                        err);
    if (!statement)
        return -1;
    statement_bind_int(statement, ":count", PRUNED_AT_ONCE);
    statement_bind_int(statement, ":oldest", now_us > age_us ? (int64_t)(now_us - age_us) : 0);
    statement_bind_int(statement, ":kept", STORE_EVENTS_MAX);
    return statement_run(writer, statement, ErrInternalError, "", err) < 0 ? -1 : 0;
}

static int event_insert(struct connection *writer, const struct event_row *row, struct err *err)
{
    return row_run(&events, writer,
                   "INSERT INTO events (" NAMES ") VALUES (:at_us, :kind, :device, :group_id, "
                   ":job, :actor, :request_id, "
                   "coalesce(json_patch(" GROUP_DETAIL ", :detail), :detail, " GROUP_DETAIL
                   ", " DEVICE_DETAIL ", '{}'))",
                   row, ErrInternalError, "", err) < 0
               ? -1
               : 0;
}

int store_event_insert(struct store_transaction *transaction, const struct event_row *row,
                       struct err *err)
{
    struct connection *writer = transaction_writer(transaction);
    bool has_failed =
        event_insert(writer, row, err) != 0 || events_prune(writer, row->at_us, err) != 0;
    transaction->has_events |= !has_failed;
    return has_failed ? transaction_result(transaction, -1)
                      : store_tokens_prune(transaction, row->at_us, err);
}

int store_event_insert_grown(struct store_transaction *transaction, const struct event_row *row,
                             struct err *err)
{
    int inserted = row_run(
        &events, transaction_writer(transaction),
        "INSERT INTO events (at_us, kind, device, actor, request_id, detail) "
        "SELECT :at_us, :kind, device, :actor, :request_id, "
        "json_object('id', devices.id, 'image', image, 'format', devices.format, 'top', top, "
        "'size_bytes', grown_bytes, 'previous_size_bytes', size_bytes) "
        "FROM members LEFT JOIN devices ON devices.name = device "
        "WHERE group_id = :group_id AND grown_bytes IS NOT NULL ORDER BY position",
        row, ErrInternalError, "", err);
    transaction->has_events |= inserted > 0;
    return inserted < 0 ? transaction_result(transaction, -1) : 0;
}

void store_events_listen(struct store *store, int fd)
{
    LOCK_GUARD(&store->transaction.listener_lock);
    store->transaction.listener_fd = fd + 1;
}

/* ---- reading ---- */

/* The newest id is that of the last insert, also if it was pruned. */
static int event_range_load(struct connection *reader, struct event_range *range, struct err *err)
{
    CLEANUP(statement)
    sqlite3_stmt *statement = statement_begin(
        reader,
        "SELECT coalesce((SELECT min(id) FROM events), last + 1), last FROM (SELECT "
        "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) AS last)",
        err);
    if (!statement || statement_step(reader, statement, ErrInternalError, "", err) <= 0)
        return -1;
    range->oldest = (uint64_t)sqlite3_column_int64(statement, 0);
    range->newest = (uint64_t)sqlite3_column_int64(statement, 1);
    return 0;
}

/* Each filter that is given has an index, which ends in the id; so have device and kind together,
 * and group and kind. With group and device the events of the group are walked, which are few. */
void event_list_sql(const struct event_filter *filter, char sql[EVENT_LIST_SQL_BYTES])
{
    bool has_kind = filter->kind < EVENT_KIND_COUNT;
    const char *group = filter->group_id ? " AND group_id = :group_id" : "";
    if (filter->device && filter->group_id)
        snprintf(sql, EVENT_LIST_SQL_BYTES,
                 "SELECT " NAMES ", id FROM events WHERE id > :after%s%s AND EXISTS (SELECT 1 FROM "
                 "event_devices WHERE member = :device AND event_id = id) ORDER BY id LIMIT :limit",
                 has_kind ? " AND kind = :kind" : "", group);
    else if (filter->device)
        snprintf(sql, EVENT_LIST_SQL_BYTES,
                 "SELECT " NAMES ", id FROM event_devices CROSS JOIN events ON id = event_id WHERE "
                 "member = :device AND event_id > :after%s ORDER BY event_id LIMIT :limit",
                 has_kind ? " AND event_kind = :kind" : "");
    else
        snprintf(sql, EVENT_LIST_SQL_BYTES,
                 "SELECT " NAMES ", id FROM events WHERE id > :after%s%s ORDER BY id LIMIT :limit",
                 has_kind ? " AND kind = :kind" : "", group);
}

static sqlite3_stmt *event_list_statement(struct connection *reader,
                                          const struct event_filter *filter, size_t limit,
                                          struct err *err)
{
    char sql[EVENT_LIST_SQL_BYTES];
    event_list_sql(filter, sql);
    sqlite3_stmt *statement = statement_begin(reader, sql, err);
    if (!statement)
        return NULL;
    statement_bind_int(statement, ":after",
                       filter->after < INT64_MAX ? (int64_t)filter->after : INT64_MAX);
    statement_bind_int(statement, ":limit", (int64_t)limit);
    if (filter->kind < EVENT_KIND_COUNT)
        statement_bind_text(statement, ":kind", kind_names[filter->kind]);
    statement_bind_text(statement, ":device", filter->device);
    statement_bind_text(statement, ":group_id", filter->group_id);
    return statement;
}

int store_event_list(struct store *store, const struct event_filter *filter, size_t limit,
                     struct event_row **rows, size_t *count, struct event_range *range,
                     struct err *err)
{
    CLEANUP(reader) struct connection *reader = reader_begin(store, err);
    *count = 0;
    if (!reader || event_range_load(reader, range, err) != 0)
        return -1;
    CLEANUP(statement)
    sqlite3_stmt *statement = event_list_statement(reader, filter, limit, err);
    if (!statement)
        return -1;
    struct event_row *loaded = calloc(limit, sizeof(*loaded));
    if (!loaded)
        return store_out_of_memory(err);
    int found = 1;
    size_t bytes = 0;
    while (found > 0 && *count < limit && bytes <= STORE_PAGE_BYTES_MAX) {
        found = statement_step(reader, statement, ErrInternalError, "", err);
        if (found > 0 && row_load(&events, statement, &loaded[*count], err) != 0)
            found = -1;
        if (found > 0)
            bytes += sizeof(*loaded) + strlen(loaded[(*count)++].detail);
    }
    *rows = loaded;
    if (found >= 0)
        return 0;
    event_rows_free(loaded, *count);
    return -1;
}
