/* SPDX-License-Identifier: Apache-2.0
 *
 * Every statement of the store runs as many steps with thousands of rows in each table as with a
 * few: SQLite counts the steps, those of triggers, foreign keys and sorts included. So no statement
 * scans a table that grows. Exempt, each with its reason, are the few below.
 */
#include "tests/lib/store-fixture.h"

#include "store/access.h"
#include "store/devices.h"
#include "store/events.h"
#include "store/frozen-files.h"
#include "store/groups.h"
#include "store/idempotency.h"
#include "store/tokens.h"

#define SHORT_HISTORY 20
#define LONG_HISTORY  5000
#define SLACK_STEPS   100 /* rows that end a search, and pages of a list */

static const struct fixture fixture = STORE_FIXTURE;

static const struct {
    const char *text, *reason;
} exempt[] = {
    {"FROM devices WHERE state = 'attached' AND NOT EXISTS", "a selector reads all devices"},
    {"OFFSET :kept", "walks the failed attempts that are kept, STORE_ABORTED_GROUPS_MAX at most"},
    {"SELECT count(*) FROM idempotency_keys", "counts a caller's keys, STORE_KEYS_MAX at most"},
};

/* Rows from `first` to `last` of each table. */
#define EACH                                                                                       \
    "WITH RECURSIVE n(i) AS (SELECT (SELECT first FROM part) UNION ALL SELECT i + 1 FROM n "       \
    "WHERE i < (SELECT last FROM part)) "
static const char fill[] =
    "CREATE TEMP TABLE part AS SELECT %d AS first, %d AS last;" EACH
    "INSERT INTO devices (name, id, state, image, format, top, top_format, read_only, labels, "
    "created_at_us, cluster_size_bytes, extended_l2) SELECT 'd' || i, 'd' || i, 'attached', "
    "'/d/' || i, 'raw', '/d/' || i, 'raw', 0, '{}', 1, 65536, 1 FROM n;" EACH
    "INSERT INTO groups (id, state, name, labels, created_at_us, sequence) SELECT 'x' || i, "
    "CASE WHEN i %% 100 THEN 'committed' ELSE 'aborted' END, 'x' || i, '{\"l\":\"v\"}', i, 10 * i "
    "FROM n;" EACH
    "INSERT INTO members (group_id, position, device, device_id, snapshot_file, format) "
    "SELECT 'x' || i, 0, 'a', (SELECT id FROM devices WHERE name = 'a'), '/o/' || i, 'qcow2' "
    "FROM n;" EACH "INSERT INTO frozen_files SELECT 'f' || i, '/f/' || i FROM n;" EACH
    "INSERT INTO events (at_us, kind, device, group_id, actor, detail) SELECT 1, "
    "'group.committed', NULL, 'x' || i, 'c', '{\"devices\":[\"a\"]}' FROM n;" EACH
    "INSERT INTO idempotency_keys (caller, key, request_hash, request_id, created_at_us) "
    "SELECT 'c', 'k' || i, 'h', 'r', i FROM n;" EACH
    "INSERT INTO tokens (id, name, scope, hash, created_at_us, expires_at_us) SELECT "
    "'t' || i, 't' || i, 'read', 'h' || i, 1, 9e15 FROM n;";

static void fill_must_insert(int first, int last)
{
    char sql[sizeof(fill) + 32];
    snprintf(sql, sizeof(sql), fill, first, last);
    store_sql(sql);
}

static void event_must_insert(const char *device, const char *group_id)
{
    struct event_row row = {.at_us = 10,
                            .kind = device ? EVENT_DEVICE_UPDATED : EVENT_GROUP_UPDATED,
                            .device = (char *)(uintptr_t)device,
                            .group_id = (char *)(uintptr_t)group_id,
                            .actor = "c"};
    assert_int_equal(STORE_CHANGE(store_event_insert, &row), 0);
}

static void key_must_be_kept(const char *text)
{
    struct key_row key = {.caller = "c",
                          .key = (char *)(uintptr_t)text,
                          .request_hash = "h",
                          .request_id = "r",
                          .created_at_us = 10000,
                          .resource_kind = "group",
                          .resource_id = "g"};
    assert_int_equal(STORE_CHANGE(store_key_insert, &key), 0);
    key.has_answer = true;
    key.status = 201;
    assert_int_equal(STORE_CHANGE(store_key_answer, &key), 0);
    struct key_row found = {0};
    assert_int_equal(store_key_get(store, "c", text, 10000, &found, &err), 1);
    key_row_clear(&found);
}

/* One group from its beginning to `end`. */
static void group_must_run(unsigned id, enum group_state end)
{
    struct frozen_file_row frozen = {(char *)(uintptr_t)id_text(id + 500), "/i/frozen"};
    char overlay[32];
    snprintf(overlay, sizeof(overlay), "/i/overlay-%u", id);
    struct group_row row = group_example(id, "b", "/i/b", overlay), now = {0};
    row.created_at_us = 10000;
    row.frozen = &frozen;
    row.frozen_count = 1;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    event_must_insert(NULL, row.id);
    group_must_become(&row, end);
    assert_int_equal(store_group_get(store, row.id, &now, &err), 0);
    struct store_transaction *change = store_begin(store, &err);
    assert_int_equal(store_group_update_labels(change, &now, &err), 1);
    assert_int_equal(store_commit(change, &err), 0);
    group_row_clear(&now);
}

static void lists_must_be_read(void)
{
    size_t count;
    uint64_t next;
    struct group_row *groups;
    struct event_row *events;
    struct event_range range;
    struct device_row *devices, device = {0};
    struct frozen_file_row *files;
    struct token_row *tokens;
    const struct group_list_filter filters[] = {
        {0},
        {.state = "committed"},
        {.device = "a"},
        {.has_created_after = true, .created_after_us = 3},
        {.has_created_before = true, .created_before_us = 12000}};
    for (size_t i = 0; i < sizeof(filters) / sizeof(*filters); i++) {
        assert_int_equal(store_group_list(store, &filters[i], 0, 3, &groups, &count, &next, &err),
                         0);
        group_rows_free(groups, count);
    }
    assert_int_equal(store_group_list_oldest(store, GROUP_COMMITTED, 0, 1, &groups, &count, &err),
                     0);
    group_rows_free(groups, count);
    const struct event_filter of_a = {.kind = EVENT_GROUP_UPDATED, .device = "b"};
    assert_int_equal(store_event_list(store, &of_a, 3, &events, &count, &range, &err), 0);
    event_rows_free(events, count);
    assert_int_equal(store_device_list(store, "a", 1, &devices, &count, &err), 0);
    device_rows_free(devices, count);
    assert_int_equal(store_device_get(store, "a", &device, &err), 0);
    device_row_clear(&device);
    assert_int_equal(store_frozen_file_list(store, NULL, 1, &files, &count, &err), 0);
    frozen_file_rows_free(files, count);
    assert_int_equal(store_token_list(store, "t", 1, &tokens, &count, &err), 0);
    token_rows_free(tokens, count);
}

/* Every change that a call makes, and every query. `round`: 1 or 2. */
static void work(unsigned round)
{
    char name[16];
    snprintf(name, sizeof(name), "n%u", round);
    struct token_row token = {.name = name, .scope = SCOPE_READ, .hash = name, .created_at_us = 10};
    snprintf(token.id, sizeof(token.id), "%s", id_text(900 + round));
    group_must_run(10 * round, GROUP_COMMITTED);
    group_must_run(10 * round + 1, GROUP_ABORTED);
    event_must_insert("a", NULL);
    key_must_be_kept(name);
    assert_int_equal(STORE_CHANGE(store_token_insert, &token), 0);
    lists_must_be_read();
    struct token_row found = {0};
    assert_int_equal(store_token_get(store, name, &found, &err), 0);
    token_row_clear(&found);
    struct device_row device = device_example(name, 700 + round);
    assert_int_equal(STORE_CHANGE(store_device_insert, &device), 0);
    assert_int_equal(STORE_CHANGE(store_device_update_state, &device), 0);
    assert_int_equal(STORE_CHANGE(store_device_delete, &device), 0);
}

#define KEPT (2 * CONNECTION_STATEMENTS_MAX)

static sqlite3_stmt *statement_at(size_t i)
{
    return i < CONNECTION_STATEMENTS_MAX ? store->writer.statements[i]
                                         : store->reader.statements[i - CONNECTION_STATEMENTS_MAX];
}

static void steps_take(int steps[KEPT])
{
    for (size_t i = 0; i < KEPT; i++)
        steps[i] = statement_at(i)
                       ? sqlite3_stmt_status(statement_at(i), SQLITE_STMTSTATUS_VM_STEP, true)
                       : 0;
}

static const char *exempt_reason(const char *sql)
{
    for (size_t i = 0; i < sizeof(exempt) / sizeof(*exempt); i++)
        if (strstr(sql, exempt[i].text))
            return exempt[i].reason;
    return NULL;
}

TEST(no_statement_costs_more_in_a_long_history)
{
    static int few[KEPT], many[KEPT];
    device_must_insert("a", 1);
    device_must_insert("b", 2);
    fill_must_insert(1, SHORT_HISTORY);
    work(1);
    assert_null(store->writer.statements[CONNECTION_STATEMENTS_MAX - 1]); /* none gave way */
    steps_take(few);
    fill_must_insert(SHORT_HISTORY + 1, LONG_HISTORY);
    work(2);
    steps_take(many);
    size_t compared = 0;
    for (size_t i = 0; i < KEPT; i++) {
        const char *sql = statement_at(i) ? sqlite3_sql(statement_at(i)) : NULL;
        compared += sql != NULL;
        if (sql && many[i] > few[i] + SLACK_STEPS && !exempt_reason(sql))
            fail_msg("%d steps, %d with few rows: %s", many[i], few[i], sql);
    }
    assert_true(compared > 40);
}
