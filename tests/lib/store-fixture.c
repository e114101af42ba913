/* SPDX-License-Identifier: Apache-2.0
 *
 * See store-fixture.h.
 */
#include "tests/lib/store-fixture.h"

#include <sqlite3.h>
#include <stdio.h>

struct store *store;
struct err err;

static void store_must_open(void)
{
    store = store_open(STORE_PATH, &err);
    if (!store)
        fail_msg("%s", err.message);
}

int store_fixture_begin(void **state)
{
    int ret = scratch_begin(state);
    store_must_open();
    return ret;
}

int store_fixture_end(void **state)
{
    if (store)
        store_close(steal(store));
    return scratch_end(state);
}

void store_restart(void)
{
    store_close(steal(store));
    store_must_open();
}

int store_change_end(struct store_transaction *change, bool is_done)
{
    if (is_done)
        return store_commit(change, &err);
    if (change)
        store_rollback(change);
    return -1;
}

const char *id_text(unsigned number)
{
    static char text[STORE_ID_CHARS + 1];
    snprintf(text, sizeof(text), "6f1c1f5e-8f0a-4c57-9b8e-%012u", number);
    return text;
}

struct device_row device_example(const char *name, unsigned id)
{
    static char image[64];
    snprintf(image, sizeof(image), "/i/%s", name);
    struct device_row row = {.state = DEVICE_ROW_ATTACHED,
                             .name = (char *)(uintptr_t)name,
                             .image = image,
                             .format = "raw",
                             .top = image,
                             .top_format = "raw",
                             .labels = "{}",
                             .cluster_size_bytes = 65536};
    snprintf(row.id, sizeof(row.id), "%s", id_text(id));
    return row;
}

void device_must_insert(const char *name, unsigned id)
{
    struct device_row row = device_example(name, id);
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
}

struct group_row group_example(unsigned id, const char *device, const char *backing,
                               const char *overlay)
{
    static char name[32];
    static struct member_row member;
    snprintf(name, sizeof(name), "g%u", id);
    member = (struct member_row){.device = (char *)(uintptr_t)device,
                                 .backing_file = (char *)(uintptr_t)backing,
                                 .backing_format = "raw",
                                 .snapshot_file = (char *)(uintptr_t)overlay,
                                 .format = "qcow2"};
    struct group_row row = {.name = name, .labels = "{}", .member_count = 1, .members = &member};
    snprintf(row.id, sizeof(row.id), "%s", id_text(id));
    return row;
}

void group_must_become(const struct group_row *row, enum group_state state)
{
    if (state == GROUP_COMMITTING || state == GROUP_COMMITTED)
        assert_int_equal(STORE_CHANGE(store_group_update_committing, row), 0);
    if (state == GROUP_COMMITTED)
        assert_int_equal(STORE_CHANGE(store_group_update_committed, row), 0);
    if (state == GROUP_ABORTING || state == GROUP_ABORTED)
        assert_int_equal(STORE_CHANGE(store_group_update_aborting, row), 0);
    if (state == GROUP_ABORTED)
        assert_int_equal(STORE_CHANGE(store_group_update_aborted, row), 0);
}

static char *last_character(const char *path)
{
    return (char *)(uintptr_t)(path + strlen(path) - 1);
}

void group_must_freeze(unsigned id, const char *device, const char *backing, const char *overlay)
{
    struct group_row row = group_example(id, device, backing, overlay);
    struct frozen_file_row frozen = {last_character(backing), (char *)(uintptr_t)backing};
    row.members[0].backing_identity = frozen.identity;
    row.members[0].snapshot_identity = last_character(overlay);
    row.frozen = &frozen;
    row.frozen_count = 1;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    group_must_become(&row, GROUP_COMMITTED);
}

struct job_row job_example(unsigned id)
{
    struct job_row row = {.spec = "{}", .kept = "[]", .created_at_us = 1};
    snprintf(row.id, sizeof(row.id), "%s", id_text(id));
    return row;
}

void job_must_insert(unsigned id, uint64_t created_at_us)
{
    struct job_row row = job_example(id);
    row.created_at_us = created_at_us;
    assert_int_equal(STORE_CHANGE(store_job_insert, &row), 0);
}

void store_sql(const char *sql)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open_v2(STORE_PATH, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_close(db);
}

int64_t store_number(const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open_v2(STORE_PATH, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}
