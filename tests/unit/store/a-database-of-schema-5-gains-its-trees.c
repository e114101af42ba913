/* SPDX-License-Identifier: Apache-2.0
 *
 * A database of schema 5 full of groups is upgraded: nothing of what it had is lost, not a member,
 * not a trigger, not an index, not a number that is given out once; and its images are those of its
 * members and devices.
 */
#include "tests/lib/store-fixture.h"

#include <sqlite3.h>

static int nothing_begin(void **state)
{
    return scratch_begin(state);
}

static const struct fixture fixture = {.begin = nothing_begin, .end = store_fixture_end};

enum { GROUPS = 3000, VERSION = 5, APPLICATION = 0x534e4150 };

extern const char store_schema_1[], store_schema_2[], store_schema_3[], store_schema_4[],
    store_schema_5[];

static void database_create(void)
{
    const char *const schemas[] = {store_schema_1, store_schema_2, store_schema_3, store_schema_4,
                                   store_schema_5};
    char stamp[96];
    sqlite3 *db;
    assert_int_equal(sqlite3_open(STORE_PATH, &db), SQLITE_OK);
    for (size_t i = 0; i < VERSION; i++)
        assert_int_equal(sqlite3_exec(db, schemas[i], NULL, NULL, NULL), SQLITE_OK);
    snprintf(stamp, sizeof(stamp), "PRAGMA user_version = %d; PRAGMA application_id = %d", VERSION,
             APPLICATION);
    assert_int_equal(sqlite3_exec(db, stamp, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* Devices a, b (with groups, taken in turn), c (without), d (being created); one was detached. */
static void database_fill(void)
{
    char sql[2048];
    store_sql("INSERT INTO devices (name, id, state, image, format, top, top_format, read_only, "
              "labels, created_at_us, cluster_size_bytes, extended_l2) VALUES "
              "('a', 'ia', 'attached', '/i/a', 'raw', '/i/a', 'raw', 0, '{}', 1, 65536, 1), "
              "('b', 'ib', 'attached', '/i/b', 'raw', '/i/b', 'raw', 0, '{}', 1, 65536, 1), "
              "('c', 'ic', 'attached', '/i/c', 'raw', '/i/c', 'raw', 1, '{}', 1, 65536, 1), "
              "('d', 'id', 'creating', '/i/d', 'raw', '/i/d', 'raw', 0, '{}', 1, 65536, 1), "
              "('e', 'ie', 'attached', '/i/e', 'raw', '/i/e', 'raw', 0, '{}', 1, 65536, 1)");
    snprintf(
        sql, sizeof(sql),
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
        "INSERT INTO groups (id, state, name, labels, created_at_us, sequence, is_late) SELECT "
        "printf('g%%08d', i), iif(i %% 10 = 0, 'aborted', iif(i = %d, 'committing', "
        "'committed')), printf('n%%d', i), json_object('k', 'v' || (i %% 7)), 1000 + i, i, i %% "
        "100 "
        "= 1 "
        "FROM n",
        GROUPS, GROUPS - 1);
    store_sql(sql);
    store_sql("INSERT INTO members (group_id, position, device, device_id, backing_file, "
              "backing_format, backing_identity, snapshot_file, format, snapshot_identity) "
              "SELECT g.id, p.position, p.device, 'i' || p.device, "
              "CASE WHEN before IS NULL THEN '/i/' || p.device ELSE "
              "printf('/i/%s.%d', p.device, before) END, 'qcow2', 'x', "
              "printf('/i/%s.%d', p.device, sequence), 'qcow2', printf('%s%d', p.device, sequence) "
              "FROM (SELECT id, sequence, iif(sequence < 2, NULL, sequence - 1 - ((sequence - 1) "
              "% 10 = 0)) AS before FROM groups) AS g CROSS JOIN (SELECT 0 AS position, 'a' AS "
              "device UNION ALL SELECT 1, 'b') AS p");
    store_sql("INSERT INTO members (group_id, position, device, device_id, backing_file, "
              "backing_format, snapshot_file, format) VALUES "
              "('g00000001', 2, 'e', 'ie', '/i/e', 'raw', '/i/e.1', 'qcow2')");
    store_sql("UPDATE devices SET top = printf('/i/%s.%d', name, (SELECT max(sequence) FROM groups "
              "WHERE state = 'committed')), top_format = 'qcow2' WHERE name IN ('a', 'b'); "
              "DELETE FROM devices WHERE name = 'e'; "
              "INSERT INTO events (at_us, kind, group_id, actor, detail) VALUES "
              "(1, 'group.committed', 'g00000001', 'uid 0', '{}'); DELETE FROM events");
}

/* What schema 5 had, without what schema 6 adds to it. */
static char *content(void)
{
    return shell_output(
        "sqlite3 -readonly " STORE_PATH
        " \"SELECT id, state, name, labels, created_at_us, sequence, "
        "revision, is_late FROM groups ORDER BY sequence; SELECT group_id, position, device, "
        "device_id, backing_file, snapshot_file, snapshot_identity FROM members ORDER BY group_id, "
        "position; SELECT name, id, state, image, top FROM devices ORDER BY name; "
        "SELECT * FROM group_terms; SELECT * FROM sqlite_sequence; "
        "SELECT name FROM sqlite_schema WHERE type IN ('trigger', 'index') AND name NOT GLOB "
        "'sqlite_*' AND name NOT GLOB '*_image' AND name NOT GLOB 'groups_deleted*' AND name NOT "
        "IN "
        "('devices_clones', 'devices_origin', 'groups_rolled_back', 'idempotency_keys_group') AND "
        "tbl_name NOT IN ('images', 'jobs', 'merges') ORDER BY name\"");
}

static void must_open(void)
{
    store = store_open(STORE_PATH, &err);
    if (!store)
        fail_msg("%s", err.message);
}

TEST(nothing_is_lost)
{
    database_create();
    database_fill();
    CLEANUP_FREE char *before = content();
    must_open();
    store_sql("PRAGMA wal_checkpoint");
    CLEANUP_FREE char *after = content();
    assert_string_equal(after, before);
    assert_int_equal(store_number("SELECT count(*) FROM pragma_foreign_key_check"), 0);
    assert_int_equal(store_number("SELECT count(*) FROM groups WHERE kind <> 'snapshot'"), 0);
    struct group_row row;
    assert_int_equal(store_group_get(store, "n7", &row, &err), 0);
    assert_int_equal(row.member_count, 2);
    group_row_clear(&row);

    /* The triggers, the cascade and the names work as before. */
    row = group_example(7, "a", "/i/x", "/i/y");
    row.name = "n7";
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), -1);
    assert_int_equal(err.code, ErrGroupExists);
    row.name = "n10"; /* of an aborted one */
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), -1);
    assert_int_equal(err.code, ErrDeviceInUse); /* by the group that is committing */
    row.members[0].device = "c";
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    assert_int_equal(store_number("SELECT sequence FROM groups WHERE name = 'n10' AND "
                                  "state = 'preparing'"),
                     GROUPS + 1);
    assert_int_equal(store_number("SELECT count(*) FROM group_terms WHERE sequence > 3000"), 2);
    store_sql("PRAGMA foreign_keys = ON; DELETE FROM groups WHERE name = 'n8'");
    assert_int_equal(store_number("SELECT count(*) FROM members WHERE group_id = 'g00000008'"), 0);
    assert_int_equal(store_number("SELECT count(*) FROM group_terms WHERE sequence = 8"), 0);
}

/* The number of images for which `condition` holds. */
static int64_t images(const char *condition)
{
    char sql[512];
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM images WHERE %s", condition);
    return store_number(sql);
}

TEST(images_are_those_of_members_and_devices)
{
    database_create();
    database_fill();
    must_open();
    const int64_t made = 2 * (GROUPS - GROUPS / 10) + 1;
    assert_int_equal(images("1"), made + 4); /* and a, b, c, e */
    assert_int_equal(images("role = 'made' AND made_by IN (SELECT id FROM groups)"), made);
    assert_int_equal(images("role = 'made' AND is_complete AND backing IS NOT NULL"), made);
    assert_int_equal(images("role = 'attached' AND path IN ('/i/a', '/i/b', '/i/e')"), 3);
    assert_int_equal(images("role = 'given' AND path = '/i/c'"), 1);
    assert_int_equal(images("NOT is_complete"), 4);
    assert_int_equal(images("is_kept"), 1);
    assert_int_equal(images("is_kept AND path = '/i/e.1'"), 1);
    assert_int_equal(images("path = '/i/a.5' AND backing = '/i/a.4' AND identity = 'a5'"), 1);
    assert_int_equal(store_number("SELECT count(*) FROM devices WHERE top_image = top"), 3);
    assert_int_equal(
        store_number("SELECT count(*) FROM members WHERE backing_image = backing_file"), made);

    struct device_row row;
    assert_int_equal(store_device_get(store, "a", &row, &err), 0);
    assert_string_equal(row.top_image, "/i/a.2998");
    device_row_clear(&row);
    row = device_example("d", 1);
    assert_int_equal(store_device_get(store, "d", &row, &err), 0);
    assert_null(row.top_image);
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    device_row_clear(&row);
}
