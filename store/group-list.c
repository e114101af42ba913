/* SPDX-License-Identifier: Apache-2.0
 *
 * See group-list.h.
 */
#include "store/group-list.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What a filter demands of group_terms. */
struct term {
    const char *kind, *key, *value;
};

#define TERMS_MAX (2 + GROUP_FILTER_LABELS_MAX)

static size_t terms_fill(const struct group_list_filter *filter, struct term terms[TERMS_MAX])
{
    size_t count = 0;
    assert(filter->label_count <= GROUP_FILTER_LABELS_MAX);
    if (filter->name)
        terms[count++] = (struct term){"name", "", filter->name};
    for (size_t i = 0; i < filter->label_count; i++)
        terms[count++] = (struct term){"label", filter->labels[i].key, filter->labels[i].value};
    if (filter->device)
        terms[count++] = (struct term){"device", "", filter->device};
    return count;
}

/* ---- the query ---- */

static void sql_add(char *sql, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void sql_add(char *sql, const char *format, ...)
{
    size_t length = strlen(sql);
    va_list args;
    va_start(args, format);
    int added = vsnprintf(sql + length, GROUP_LIST_SQL_BYTES - length, format, args);
    va_end(args);
    (void)added;
    assert(added >= 0 && (size_t)added < GROUP_LIST_SQL_BYTES - length);
}

/* Lists show the recorded cut of a group that is `committing` as a state of its own
 * (group_row_state_name); NULL: any state. */
static const char *state_condition(const struct group_list_filter *filter)
{
    if (!filter->state)
        return NULL;
    if (strcmp(filter->state, GROUP_STATE_CUT) == 0)
        return "state = 'committing' AND cut_at_us IS NOT NULL";
    if (strcmp(filter->state, "committing") == 0)
        return "state = 'committing' AND cut_at_us IS NULL";
    return "state = :state";
}

void group_list_sql(const struct group_list_filter *filter, char sql[GROUP_LIST_SQL_BYTES])
{
    struct term terms[TERMS_MAX];
    size_t count = terms_fill(filter, terms);
    const char *driver = count > 0 ? "t" : "groups";
    const char *state = state_condition(filter);
    *sql = '\0';
    sql_add(sql,
            "SELECT groups.sequence, created_at_us > :after_us AND created_at_us < :before_us");
    if (count > 0 && state)
        sql_add(sql, " AND %s", state);
    sql_add(sql, " AND groups.kind %s", filter->kind ? "= :group_kind" : "<> 'cut'");
    for (size_t i = 1; i < count; i++)
        sql_add(sql,
                " AND EXISTS (SELECT 1 FROM group_terms AS o WHERE o.kind = :kind%zu "
                "AND o.key = :key%zu AND o.value = :value%zu AND o.sequence = groups.sequence)",
                i, i, i);
    sql_add(sql, " FROM ");
    if (count > 0)
        sql_add(sql, "group_terms AS t CROSS JOIN groups ON groups.sequence = t.sequence "
                     "WHERE t.kind = :kind0 AND t.key = :key0 AND t.value = :value0 AND ");
    else
        sql_add(sql, "groups WHERE %s%s", state ? state : "", state ? " AND " : "");
    sql_add(sql, "%s.sequence < :before AND %s.sequence >= :floor ", driver, driver);
    sql_add(sql, "ORDER BY %s.sequence DESC LIMIT :scan", driver);
}

/* ---- the range ---- */

/* The one number that `sql` selects, with :time_us bound. */
static int number_get(struct connection *reader, const char *sql, uint64_t time_us, int64_t *number,
                      struct err *err)
{
    CLEANUP(statement) sqlite3_stmt *statement = statement_begin(reader, sql, err);
    if (!statement)
        return -1;
    statement_bind_int(statement, ":time_us", (int64_t)time_us);
    if (statement_step(reader, statement, ErrInternalError, "", err) < 0)
        return -1;
    *number = sqlite3_column_int64(statement, 0);
    return 0;
}

#define LATEST "9223372036854775807"

/* Narrows the range of sequence numbers, *floor to below *before, to what the times allow. */
static int range_narrow(struct connection *reader, const struct group_list_filter *filter,
                        int64_t *floor, int64_t *before, struct err *err)
{
    int64_t last = INT64_MAX - 1;
    if (filter->has_created_after &&
        number_get(reader,
                   "SELECT min(coalesce((SELECT sequence FROM groups WHERE is_late = 0 "
                   "AND created_at_us > :time_us ORDER BY created_at_us, sequence LIMIT 1), " LATEST
                   "), coalesce((SELECT sequence FROM groups WHERE is_late = 1 AND sequence > 0 "
                   "ORDER BY sequence LIMIT 1), " LATEST "))",
                   filter->created_after_us, floor, err) != 0)
        return -1;
    if (filter->has_created_before &&
        number_get(reader,
                   "SELECT max(coalesce((SELECT sequence FROM groups WHERE is_late = 0 "
                   "AND created_at_us < :time_us ORDER BY created_at_us DESC, sequence DESC "
                   "LIMIT 1), 0), coalesce((SELECT sequence FROM groups WHERE is_late = 1 AND "
                   "sequence > 0 "
                   "ORDER BY sequence DESC LIMIT 1), 0))",
                   filter->created_before_us, &last, err) != 0)
        return -1;
    if (*before > last + 1)
        *before = last + 1;
    return 0;
}

/* ---- finding ---- */

static void filter_bind(sqlite3_stmt *statement, const struct group_list_filter *filter)
{
    struct term terms[TERMS_MAX];
    size_t count = terms_fill(filter, terms);
    char parameter[32];
    for (size_t i = 0; i < count; i++) {
        snprintf(parameter, sizeof(parameter), ":kind%zu", i);
        statement_bind_text(statement, parameter, terms[i].kind);
        snprintf(parameter, sizeof(parameter), ":key%zu", i);
        statement_bind_text(statement, parameter, terms[i].key);
        snprintf(parameter, sizeof(parameter), ":value%zu", i);
        statement_bind_text(statement, parameter, terms[i].value);
    }
    statement_bind_text(statement, ":state", filter->state);
    statement_bind_text(statement, ":group_kind", filter->kind);
    statement_bind_int(statement, ":after_us",
                       filter->has_created_after ? (int64_t)filter->created_after_us : -1);
    statement_bind_int(statement, ":before_us",
                       filter->has_created_before ? (int64_t)filter->created_before_us : INT64_MAX);
}

/* Begins to read, newest first, at most `rows` from `floor` to below `below`. NULL: *err. */
static sqlite3_stmt *list_begin(struct connection *reader, const struct group_list_filter *filter,
                                int64_t floor, int64_t below, size_t rows, struct err *err)
{
    char sql[GROUP_LIST_SQL_BYTES];
    group_list_sql(filter, sql);
    sqlite3_stmt *statement = statement_begin(reader, sql, err);
    if (!statement)
        return NULL;
    filter_bind(statement, filter);
    statement_bind_int(statement, ":before", below);
    statement_bind_int(statement, ":floor", floor);
    statement_bind_int(statement, ":scan", (int64_t)rows);
    return statement;
}

int group_list_find(struct connection *reader, const struct group_list_filter *filter,
                    uint64_t before, size_t limit, uint64_t *sequences, size_t *count,
                    uint64_t *next, struct err *err)
{
    int64_t floor = 0, below = before ? (int64_t)before : INT64_MAX;
    size_t scanned = 0, scan_max = limit < GROUP_SCAN_ROWS ? GROUP_SCAN_ROWS : limit;
    *count = 0;
    *next = 0;
    if (range_narrow(reader, filter, &floor, &below, err) != 0)
        return -1;
    CLEANUP(statement)
    sqlite3_stmt *statement = list_begin(reader, filter, floor, below, scan_max + 1, err);
    if (!statement)
        return -1;
    for (;;) {
        int found = statement_step(reader, statement, ErrInternalError, "", err);
        if (found <= 0) {
            *next = 0;
            return found;
        }
        /* There is one more: the list goes on below the one before it. */
        if (*count == limit || scanned == scan_max)
            return 0;
        scanned++;
        *next = (uint64_t)sqlite3_column_int64(statement, 0);
        if (sqlite3_column_int(statement, 1))
            sequences[(*count)++] = *next;
    }
}
