/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan is due, until it is made, of the tree of each image that may be merged or removed since a
 * device has gone; and of one into which the top of a device was half merged when it was detached,
 * once that is attached again, for writing, and the job has ended. Till then the two images stay
 * what they are: no other chain has the lower one, no other file takes the place of one of them.
 */
#include "tests/lib/store-fixture.h"

#include "store/images.h"
#include "store/merges.h"

#include <stdlib.h>

static const struct fixture fixture = STORE_FIXTURE;

static struct image_row t0 = {.path = "/i/t0", .identity = "0", .format = "raw"};

/* One device at a time: its id is a new one. */
static struct device_row device(unsigned id, struct image_row *chain, size_t count)
{
    struct device_row row = device_example("vda", id);
    row.image = row.top = chain[0].path;
    row.top_identity = chain[0].identity;
    row.chain = chain;
    row.chain_count = count;
    return row;
}

/* Detaches vda, with its top if that has a maker. */
static void detach(char *removed_by)
{
    struct device_row row;
    assert_int_equal(store_device_get(store, "vda", &row, &err), 0);
    row.state = DEVICE_ROW_DETACHING;
    row.removed_by = removed_by;
    assert_int_equal(STORE_CHANGE(store_device_update_state, &row), 0);
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    row.removed_by = NULL;
    device_row_clear(&row);
}

/* Whether a plan is due, and of nothing but that image. */
static bool is_due(const char *path)
{
    CLEANUP_FREE char *image = NULL, *next = NULL;
    int found = store_plan_next_due(store, "", &image, &err);
    assert_int_equal(found, store_number("SELECT count(*) FROM due_plans"));
    assert_int_equal(found, store_plan_is_due(store, path, &err));
    if (found == 0)
        return false;
    assert_string_equal(image, path);
    assert_int_equal(store_plan_next_due(store, image, &next, &err), 0);
    return true;
}

/* ---- devices that go ---- */

static const struct {
    const char *so, *back;
    bool is_due;
} needs[] = {
    {"", "", true},
    {"UPDATE groups SET state = 'committed'", "UPDATE groups SET state = 'deleted'", false},
    {"UPDATE images SET is_kept = 1 WHERE path = '/i/t0'", "UPDATE images SET is_kept = 0", false},
    {"INSERT INTO images (path, format, backing, role) VALUES ('/i/x', 'raw', '/i/t0', 'given')",
     "", true},
    {"INSERT INTO images (path, format, backing, role) VALUES ('/i/y', 'raw', '/i/t0', 'given')",
     "DELETE FROM images WHERE path IN ('/i/x', '/i/y')", false},
};

TEST(a_plan_is_due_if_at_most_one_image_is_left_on_what_nobody_needs)
{
    for (unsigned i = 0; i < sizeof(needs) / sizeof(*needs); i++) {
        struct device_row row = device(i + 1, &t0, 1);
        assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
        group_must_freeze(11 + i, "vda", "/i/t0", "/i/t1");
        store_sql("UPDATE groups SET state = 'deleted'");
        store_sql(needs[i].so);
        assert_false(is_due("/i/t0"));
        detach("a maker");
        assert_int_equal(is_due("/i/t0"), needs[i].is_due);
        assert_int_equal(STORE_CHANGE(store_plan_done, "/i/t0"), 0);
        assert_false(is_due("/i/t0"));
        store_sql(needs[i].back);
    }
}

TEST(a_top_that_stays_leaves_nothing_to_do_unless_it_was_only_read)
{
    struct device_row row = device(1, &t0, 1);
    row.read_only = true;
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
    detach(NULL);
    assert_true(is_due("/i/t0"));
    assert_int_equal(STORE_CHANGE(store_plan_done, "/i/t0"), 0);
    row = device(2, &t0, 1);
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
    group_must_freeze(11, "vda", "/i/t0", "/i/t1");
    store_sql("UPDATE groups SET state = 'deleted'");
    detach(NULL);
    assert_false(is_due("/i/t0"));
}

/* ---- tops that are half merged ---- */

static struct image_row half[] = {{.path = "/i/t1", .identity = "1", .format = "qcow2"},
                                  {.path = "/i/t0", .identity = "0", .format = "raw"}};

/* vda was detached while job 1, which runs, merged t1 into t0. */
static struct merge_row half_merge(void)
{
    struct merge_row merge = {.device = "vda", .base = "/i/t0", .upper = "/i/t1"};
    struct device_row row = device(1, &t0, 1);
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
    group_must_freeze(11, "vda", "/i/t0", "/i/t1");
    store_sql("UPDATE groups SET state = 'deleted'");
    job_must_insert(1, 1);
    store_sql("UPDATE jobs SET state = 'running', group_id = (SELECT id FROM groups)");
    struct store_transaction *transaction = store_begin(store, &err);
    assert_int_equal(store_merge_insert_collapse(transaction, id_text(1), &merge, &err), 1);
    assert_int_equal(store_merge_begin_collapse(transaction, &merge, &err), 1);
    assert_int_equal(store_commit(transaction, &err), 0);
    store_sql("UPDATE merges SET group_id = (SELECT id FROM groups)");
    detach(NULL);
    return merge;
}

static int attach(unsigned id, struct image_row *chain, size_t count, bool read_only)
{
    struct device_row row = device(id, chain, count);
    row.read_only = read_only;
    return STORE_CHANGE(store_device_insert, &row);
}

static int job_end(void)
{
    struct job_row row = job_example(1);
    row.state = JOB_DONE;
    row.has_finished = true;
    row.finished_at_us = 2;
    return STORE_RESULT(store_job_update_state, &row);
}

static bool is_left(void)
{
    char group_id[STORE_ID_CHARS + 1];
    int found = store_merge_find_left(store, "/i/t0", group_id, &err);
    assert_true(found >= 0);
    if (found > 0)
        assert_string_equal(group_id, id_text(11));
    return found > 0;
}

TEST(a_merge_that_was_left_goes_on_with_an_attach_that_writes)
{
    struct merge_row merge = half_merge();
    assert_int_equal(STORE_RESULT(store_merge_drop, &merge), 0);
    assert_int_equal(job_end(), 1);
    assert_false(is_left() || is_due("/i/t0"));
    assert_int_equal(attach(2, half + 1, 1, true), -1);
    assert_int_equal(err.code, ErrGroupDeleting);
    assert_non_null(strstr(err.message, "attach '/i/t1'"));
    assert_int_equal(attach(2, half, 2, true), 0);
    assert_false(is_left() || is_due("/i/t0"));
    detach(NULL);
    store_sql("DELETE FROM due_plans"); /* t1 was read */
    assert_int_equal(attach(3, half, 2, false), 0);
    assert_true(is_left() && is_due("/i/t0"));
    detach(NULL);
    assert_true(!is_left() && is_due("/i/t0"));
}

TEST(a_plan_is_due_if_the_job_ends_after_the_attach)
{
    half_merge();
    assert_int_equal(attach(2, half, 2, false), 0);
    assert_false(is_left() || is_due("/i/t0")); /* the job goes on with it */
    assert_int_equal(job_end(), 1);
    assert_true(is_left() && is_due("/i/t0"));
}

TEST(half_merged_images_are_not_forgotten_or_replaced)
{
    half_merge();
    job_end();
    assert_int_equal(STORE_CHANGE(store_image_forget, "/i/t1"), 0);
    assert_int_equal(store_number("SELECT count(*) FROM images WHERE backing = '/i/t0'"), 1);
    assert_int_equal(store_image_is_needed(store, "/i/t1", &err), 1);
    struct device_row other = device_example("vdb", 9);
    assert_int_equal(STORE_CHANGE(store_device_insert, &other), 0);
    struct group_row group = group_example(12, "vdb", "/i/vdb", "/i/t1");
    assert_int_equal(STORE_CHANGE(store_group_insert, &group), -1);
    assert_int_equal(err.code, ErrImageInUse);
}

TEST(a_half_merged_image_is_not_released)
{
    struct frozen_user_row user = {0};
    const struct frozen_file_row file = {.identity = "0", .path = "/i/t0"};
    half_merge();
    store_sql("DELETE FROM images WHERE path = '/i/t1'");
    struct store_transaction *transaction = store_begin(store, &err);
    assert_int_equal(store_frozen_file_release(transaction, &file, &user, &err), 0);
    assert_int_equal(store_commit(transaction, &err), 0);
    assert_int_equal(user.kind, FROZEN_MERGE);
    assert_string_equal(user.name, "/i/t1");
    frozen_user_row_clear(&user);
}
