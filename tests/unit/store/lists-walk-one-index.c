/* SPDX-License-Identifier: Apache-2.0
 *
 * Every query of a list of groups, with any filters, searches indexes from the cursor on: it scans
 * no table and sorts nothing. The same holds for what finds the range of a time, for the triggers
 * of group_terms, and for the lists of other tables.
 */
#include "tests/lib/testlib.h"

#include "store/events.h"
#include "store/group-list.h"
#include "store/store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

static const char database[] = "plans.db"; /* the scratch directory is the current one */

static sqlite3 *database_new(void)
{
    struct err err;
    sqlite3 *db;
    struct store *store = store_open(database, &err);
    assert_non_null(store);
    store_close(store);
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    return db;
}

static void plan_check(sqlite3 *db, const char *sql)
{
    char explain[GROUP_LIST_SQL_BYTES + 32];
    sqlite3_stmt *statement;
    snprintf(explain, sizeof(explain), "EXPLAIN QUERY PLAN %s", sql);
    if (sqlite3_prepare_v2(db, explain, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sqlite3_errmsg(db), sql);
    while (sqlite3_step(statement) == SQLITE_ROW) {
        const char *detail = (const char *)sqlite3_column_text(statement, 3);
        bool is_costly = strstr(detail, "SCAN groups") || strstr(detail, "SCAN group_terms") ||
                         strstr(detail, "SCAN members") || strstr(detail, "SCAN t") ||
                         strstr(detail, "SCAN o") || strstr(detail, "SCAN devices") ||
                         strstr(detail, "SCAN event") || strstr(detail, "SCAN tokens") ||
                         strstr(detail, "TEMP B-TREE FOR ORDER");
        if (is_costly)
            fail_msg("%s: %s", detail, sql);
    }
    sqlite3_finalize(statement);
}

TEST(any_filter_walks_an_index)
{
    char sql[GROUP_LIST_SQL_BYTES];
    sqlite3 *db = database_new();
    static const char *const states[] = {NULL, "committed", "committing", "cut"};
    for (unsigned given = 0; given < 32; given++)
        for (size_t labels = 0; labels <= GROUP_FILTER_LABELS_MAX; labels++) {
            struct group_list_filter filter = {.state = states[given / 8],
                                               .name = given & 1 ? "g" : NULL,
                                               .device = given & 2 ? "vda" : NULL,
                                               .has_created_after = given & 4,
                                               .label_count = labels};
            group_list_sql(&filter, sql);
            plan_check(db, sql);
        }
    sqlite3_close(db);
}

TEST(events_of_any_filter_walk_an_index)
{
    char sql[EVENT_LIST_SQL_BYTES];
    sqlite3 *db = database_new();
    for (unsigned given = 0; given < 8; given++) {
        event_list_sql(
            &(struct event_filter){.kind = given & 1 ? EVENT_DEVICE_FAILED : EVENT_KIND_COUNT,
                                   .device = given & 2 ? "vda" : NULL,
                                   .group_id = given & 4 ? "g" : NULL},
            sql);
        plan_check(db, sql);
    }
    sqlite3_close(db);
}

TEST(ranges_triggers_and_other_lists_do_too)
{
    static const char *const queries[] = {
        "SELECT sequence FROM groups WHERE is_late = 0 AND created_at_us > 1 "
        "ORDER BY created_at_us, sequence LIMIT 1",
        "SELECT sequence FROM groups WHERE is_late = 0 AND created_at_us < 1 "
        "ORDER BY created_at_us DESC, sequence DESC LIMIT 1",
        "SELECT sequence FROM groups WHERE is_late = 1 AND sequence > 0 ORDER BY sequence DESC "
        "LIMIT 1",
        "SELECT sequence FROM groups WHERE is_late = 1 AND sequence > 0 ORDER BY sequence LIMIT 1",
        "DELETE FROM group_terms WHERE kind = 'name' AND key = '' AND value = 'x' AND sequence = 1",
        "DELETE FROM group_terms WHERE kind = 'label' AND sequence = 1 "
        "AND (key, value) IN (SELECT key, value FROM json_each('{}'))",
        "DELETE FROM group_terms WHERE kind = 'device' AND key = '' AND sequence = 1 "
        "AND value IN (SELECT device FROM members WHERE group_id = 'x')",
        "SELECT sequence FROM groups WHERE id = 'x'",
        "SELECT name FROM devices WHERE name > 'x' ORDER BY name LIMIT 10",
        "SELECT name FROM tokens WHERE name > 'x' ORDER BY name LIMIT 10",
        "DELETE FROM event_devices WHERE event_id = 1 AND member IN "
        "(SELECT 'x' UNION ALL SELECT value FROM json_each('{}', '$.devices'))",
    };
    sqlite3 *db = database_new();
    for (size_t i = 0; i < sizeof(queries) / sizeof(*queries); i++)
        plan_check(db, queries[i]);
    sqlite3_close(db);
}
