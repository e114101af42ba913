/* SPDX-License-Identifier: Apache-2.0
 *
 * A merge of the live top of a device is planned, begun and recorded only while that is the top of
 * one attached device, made by a group, and nobody needs it or the image right beneath it. Then
 * that image is the top, and frozen no longer. Until the record the top does not go with its
 * device; and a row of a device that was read before records nothing of the old top.
 */
#include "tests/lib/store-fixture.h"

#include "store/images.h"
#include "store/merges.h"

static const struct fixture fixture = STORE_FIXTURE;

/* A device vda whose top is t1, made by a group that was deleted, on its image t0. */
static struct device_row scene_create(void)
{
    struct image_row image = {.path = "/i/t0", .identity = "0", .format = "raw"};
    struct device_row device = device_example("vda", 1), before;
    device.image = device.top = "/i/t0";
    device.top_identity = "0";
    device.chain = &image;
    device.chain_count = 1;
    assert_int_equal(STORE_CHANGE(store_device_insert, &device), 0);
    assert_int_equal(store_device_get(store, "vda", &before, &err), 0);
    group_must_freeze(11, "vda", "/i/t0", "/i/t1");
    job_must_insert(1, 1);
    return before;
}

static struct merge_row merge(void)
{
    return (struct merge_row){.device = "vda", .base = "/i/t0", .upper = "/i/t1"};
}

static int plan(struct merge_row *row)
{
    struct store_transaction *transaction = store_begin(store, &err);
    int result = store_merge_insert_collapse(transaction, id_text(1), row, &err);
    assert_int_equal(store_commit(transaction, &err), 0);
    return result;
}

static const struct {
    const char *comes, *goes;
} obstacles[] = {
    {"UPDATE groups SET state = 'committed'", "UPDATE groups SET state = 'deleted'"},
    {"UPDATE devices SET read_only = 1", "UPDATE devices SET read_only = 0"},
    {"UPDATE devices SET state = 'detaching'", "UPDATE devices SET state = 'attached'"},
    {"UPDATE images SET is_kept = 1 WHERE path = '/i/t1'", "UPDATE images SET is_kept = 0"},
    {"UPDATE images SET is_kept = 1 WHERE path = '/i/t0'", "UPDATE images SET is_kept = 0"},
    {"INSERT INTO images (path, format, backing, role) VALUES ('/i/x', 'qcow2', '/i/t0', "
     "'attached')",
     "DELETE FROM images WHERE path = '/i/x'"},
    {"INSERT INTO images (path, format, backing, role) VALUES ('/i/x', 'qcow2', '/i/t1', "
     "'attached')",
     "DELETE FROM images WHERE path = '/i/x'"},
};
enum { OBSTACLES = sizeof(obstacles) / sizeof(*obstacles) };

TEST(each_step_is_made_only_while_nobody_needs_the_two)
{
    struct device_row before = scene_create(), now;
    struct merge_row row = merge();
    assert_int_equal(0, plan(&row)); /* t0 is the group's */
    store_sql("UPDATE groups SET state = 'deleted'");
    store_sql("UPDATE images SET made_by = (SELECT id FROM devices) WHERE path = '/i/t1'");
    assert_int_equal(0, plan(&row)); /* the image of a clone */
    store_sql("UPDATE images SET made_by = (SELECT id FROM groups) WHERE path = '/i/t1'");
    for (size_t i = 0; i < OBSTACLES; i++) {
        store_sql(obstacles[i].comes);
        assert_int_equal(0, plan(&row));
        store_sql(obstacles[i].goes);
    }
    assert_int_equal(1, plan(&row));
    assert_int_equal(0, STORE_RESULT(store_merge_collapse, &row)); /* it has not begun */
    for (size_t i = 0; i < OBSTACLES; i++) {
        store_sql(obstacles[i].comes);
        assert_int_equal(0, STORE_RESULT(store_merge_begin_collapse, &row));
        store_sql(obstacles[i].goes);
    }
    assert_int_equal(1, STORE_RESULT(store_merge_begin_collapse, &row));
    for (size_t i = 0; i < OBSTACLES; i++) {
        store_sql(obstacles[i].comes);
        assert_int_equal(0, STORE_RESULT(store_merge_collapse, &row));
        store_sql(obstacles[i].goes);
    }
    assert_int_equal(1, store_number("SELECT count(*) FROM frozen_files"));
    assert_int_equal(1, STORE_RESULT(store_merge_collapse, &row));
    assert_int_equal(0, store_number("SELECT count(*) FROM frozen_files"));
    assert_int_equal(1, store_number("SELECT count(*) FROM images"));
    assert_int_equal(1, store_number("SELECT json_extract(files, '$[0].path') = '/i/t1' "
                                     "FROM merges WHERE stage = 'redirected'"));
    assert_int_equal(store_device_get(store, "vda", &now, &err), 0);
    assert_string_equal(now.top, "/i/t0");
    assert_string_equal(now.top_format, "raw");
    assert_string_equal(now.top_identity, "0");
    assert_true(now.revision > before.revision);
    device_row_clear(&now);
    device_row_clear(&before);
}

TEST(the_top_does_not_go_while_it_is_copied)
{
    struct device_row row = scene_create(), now;
    struct merge_row collapse = merge();
    device_row_clear(&row);
    store_sql("UPDATE groups SET state = 'deleted'");
    assert_int_equal(1, plan(&collapse));
    assert_int_equal(store_device_get(store, "vda", &row, &err), 0);
    now = row;
    now.state = DEVICE_ROW_DETACHING;
    now.removed_by = "x";
    assert_int_equal(0, STORE_CHANGE(store_device_update_state, &now));
    assert_int_equal(0, STORE_CHANGE(store_device_update_state, &row));
    assert_int_equal(1, STORE_RESULT(store_merge_begin_collapse, &collapse));
    assert_int_equal(-1, STORE_CHANGE(store_device_update_state, &now));
    assert_int_equal(ErrDeviceInUse, err.code);
    now.removed_by = NULL; /* the file stays */
    assert_int_equal(0, STORE_CHANGE(store_device_update_state, &now));
    device_row_clear(&row);
}

TEST(a_row_that_was_read_before_says_nothing_of_the_top)
{
    struct device_row row = scene_create(), now; /* when t0 was the top */
    row.state = DEVICE_ROW_DETACHING;
    assert_int_equal(0, STORE_CHANGE(store_device_update_state, &row));
    assert_int_equal(store_device_get(store, "vda", &now, &err), 0);
    assert_string_equal(now.top, "/i/t1");
    assert_string_equal(now.top_identity, "1");
    device_row_clear(&now);
    device_row_clear(&row);
}
