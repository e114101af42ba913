/* SPDX-License-Identifier: Apache-2.0
 *
 * Events are listed in the order of their commits, by any filter, each once; an event whose
 * transaction is rolled back leaves neither a row nor a gap. Those that are too old or too many go,
 * the oldest first, a few with each insert, and their ids never come again. Who listens is woken by
 * each commit that has an event, whatever it is of.
 * GET /limits: events, event_days.
 */
#include "tests/lib/testlib.h"

#include "store/events.h"
#include "store/store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define DAY_US ((uint64_t)24 * 3600 * 1000000)

static const char database[] = "events.db"; /* the scratch directory is the current one */

static void insert(struct store *store, struct event_row row, bool is_kept)
{
    struct err err;
    row.actor = "uid 0";
    struct store_transaction *transaction = store_begin(store, &err);
    assert_non_null(transaction);
    assert_int_equal(store_event_insert(transaction, &row, &err), 0);
    if (is_kept)
        assert_int_equal(store_commit(transaction, &err), 0);
    else
        store_rollback(transaction);
}

/* The ids that a list has, "1 2 3". */
static void check(struct store *store, struct event_filter filter, size_t limit, const char *wanted,
                  uint64_t oldest, uint64_t newest)
{
    struct err err;
    struct event_row *rows;
    struct event_range range;
    size_t count;
    char ids[256] = "";
    assert_int_equal(store_event_list(store, &filter, limit, &rows, &count, &range, &err), 0);
    for (size_t i = 0; i < count; i++)
        snprintf(ids + strlen(ids), sizeof(ids) - strlen(ids), "%s%d", i ? " " : "",
                 (int)rows[i].id);
    event_rows_free(rows, count);
    assert_string_equal(ids, wanted);
    assert_int_equal(range.oldest, oldest);
    assert_int_equal(range.newest, newest);
}

static void execute(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(events_are_listed)
{
    struct err err;
    struct store *store = store_open(database, &err);
    const struct event_filter all = {.kind = EVENT_KIND_COUNT};
    const enum event_kind attached = EVENT_DEVICE_ATTACHED, failed = EVENT_DEVICE_FAILED;
    assert_non_null(store);
    check(store, all, 10, "", 1, 0);
    insert(store, (struct event_row){.at_us = DAY_US, .kind = attached, .device = "a"}, true);
    insert(store, (struct event_row){.at_us = DAY_US, .kind = attached, .device = "b"}, false);
    insert(store, (struct event_row){.at_us = DAY_US, .kind = attached, .device = "b"}, true);
    insert(store, (struct event_row){.at_us = DAY_US, .kind = failed, .device = "a"}, true);
    insert(store, (struct event_row){.at_us = DAY_US, .kind = EVENT_GROUP_ABORTED, .group_id = "g"},
           true);
    check(store, all, 10, "1 2 3 4", 1, 4);
    check(store, all, 2, "1 2", 1, 4);
    check(store, (struct event_filter){.after = 2, .kind = EVENT_KIND_COUNT}, 10, "3 4", 1, 4);
    check(store, (struct event_filter){.kind = attached}, 10, "1 2", 1, 4);
    check(store, (struct event_filter){.kind = failed, .device = "a"}, 10, "3", 1, 4);
    check(store, (struct event_filter){.kind = EVENT_KIND_COUNT, .device = "a"}, 10, "1 3", 1, 4);
    check(store, (struct event_filter){.kind = EVENT_KIND_COUNT, .group_id = "g"}, 10, "4", 1, 4);
    check(store, (struct event_filter){.after = UINT64_MAX, .kind = EVENT_KIND_COUNT}, 10, "", 1,
          4);
    store_close(store);
}

/* A device's own, and those of its groups; with the events go their entries. */
TEST(events_of_a_device_include_its_groups)
{
    struct err err;
    const struct event_filter of_a = {.kind = EVENT_KIND_COUNT, .device = "a"};
    struct event_row group = {.at_us = DAY_US,
                              .kind = EVENT_GROUP_COMMITTED,
                              .group_id = "g",
                              .detail = "{\"devices\":[\"b\",\"a\"]}"};
    struct store *store = store_open("devices.db", &err);
    assert_non_null(store);
    insert(store, (struct event_row){.at_us = DAY_US, .kind = EVENT_DEVICE_ATTACHED, .device = "a"},
           true);
    insert(store, group, true);
    group.detail = "{\"devices\":[\"b\"]}";
    insert(store, group, true);
    check(store, of_a, 10, "1 2", 1, 3);
    check(store, (struct event_filter){.kind = EVENT_GROUP_COMMITTED, .device = "a"}, 10, "2", 1,
          3);
    check(store, (struct event_filter){.kind = EVENT_KIND_COUNT, .device = "b", .group_id = "g"},
          10, "2 3", 1, 3);
    insert(store,
           (struct event_row){.at_us = (STORE_EVENT_DAYS_MAX + 2) * DAY_US,
                              .kind = EVENT_RECOVERY_DONE},
           true);
    check(store, of_a, 10, "", 4, 4);
    store_close(store);
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open("devices.db", &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db, "SELECT count(*) FROM event_devices", -1, &statement, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(statement, 0), 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
}

/* Goes on with the four events. */
TEST(events_are_pruned)
{
    struct err err;
    const struct event_filter all = {.kind = EVENT_KIND_COUNT};
    struct event_row late = {.at_us = (STORE_EVENT_DAYS_MAX + 2) * DAY_US,
                             .kind = EVENT_RECOVERY_DONE};
    struct store *store = store_open(database, &err);
    assert_non_null(store);
    execute("UPDATE events SET at_us = 3 * 86400000000 WHERE id = 3");
    insert(store, late, true);
    check(store, all, 10, "3 4 5", 3, 5); /* 3 is young enough, and 4 comes after it */
    execute("UPDATE sqlite_sequence SET seq = 1000003 WHERE name = 'events'");
    insert(store, late, true);
    check(store, all, 10, "5 1000004", 5, 1000004);
    insert(store, late, true);
    check(store, all, 10, "1000004 1000005", 1000004, 1000005);
    execute("DELETE FROM events");
    store_close(store);
    store = store_open(database, &err);
    assert_non_null(store);
    check(store, all, 10, "", 1000006, 1000005);
    insert(store, late, true);
    check(store, all, 10, "1000006", 1000006, 1000006);
    store_close(store);
}

/* How often the eventfd was written since. */
static uint64_t wakes_since(int fd)
{
    eventfd_t count = 0;
    eventfd_read(fd, &count); /* not at all: EAGAIN */
    return count;
}

TEST(each_commit_of_an_event_wakes_who_listens)
{
    struct err err;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct store *store = store_open("wakes.db", &err);
    assert_true(store && fd >= 0);
    store_events_listen(store, fd);
    assert_int_equal(wakes_since(fd), 0);
    insert(store, (struct event_row){.kind = EVENT_DEVICE_UPDATED, .device = "a"}, true);
    assert_int_equal(wakes_since(fd), 1);
    insert(store, (struct event_row){.kind = EVENT_DEVICE_UPDATED, .device = "a"}, false);
    assert_int_equal(wakes_since(fd), 0);
    struct store_transaction *transaction = store_begin(store, &err);
    assert_int_equal(store_commit(transaction, &err), 0); /* without events */
    assert_int_equal(wakes_since(fd), 0);
    assert_int_equal(store_reopen(store, &err), 0); /* a commit may have turned out to be made */
    assert_int_equal(wakes_since(fd), 1);
    store_events_listen(store, -1);
    insert(store, (struct event_row){.kind = EVENT_DEVICE_UPDATED, .device = "a"}, true);
    assert_int_equal(wakes_since(fd), 0);
    store_close(store);
    close(fd);
}
