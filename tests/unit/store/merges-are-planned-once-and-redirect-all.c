/* SPDX-License-Identifier: Apache-2.0
 *
 * A merge is planned only if the images of its run allow it at that moment, as service/tree.h has
 * it, and no other merge has one of them. It goes from stage to stage, and when it is redirected,
 * all that named the upper image names the base, and the images above the base are gone.
 */
#include "tests/lib/store-fixture.h"

#include "store/images.h"

static const struct fixture fixture = STORE_FIXTURE;

/* A device vda whose top is t3, on t2, t1 (all made by groups g1 to g3) and t0, its image. The
 * groups' frozen members are t0, t1 and t2. */
static void chain_create(void)
{
    char backing[8], overlay[8];
    struct image_row image = {.path = "/i/t0", .identity = "0", .format = "raw"};
    struct device_row device = device_example("vda", 1);
    device.image = device.top = "/i/t0";
    device.chain = &image;
    device.chain_count = 1;
    assert_int_equal(STORE_CHANGE(store_device_insert, &device), 0);
    for (unsigned i = 0; i < 3; i++) {
        snprintf(backing, sizeof(backing), "/i/t%u", i);
        snprintf(overlay, sizeof(overlay), "/i/t%u", i + 1);
        group_must_freeze(11 + i, "vda", backing, overlay);
    }
    job_must_insert(1, 1);
}

static void group_delete(const char *name)
{
    char sql[96];
    snprintf(sql, sizeof(sql), "UPDATE groups SET state = 'deleting' WHERE name = '%s'", name);
    store_sql(sql);
}

static struct merge_row merge(const char *base, const char *upper)
{
    return (struct merge_row){
        .device = "vda", .base = (char *)(uintptr_t)base, .upper = (char *)(uintptr_t)upper};
}

/* Whether it is planned; row->id then. */
static int plan_row(struct merge_row *row)
{
    struct store_transaction *transaction = store_begin(store, &err);
    int result = store_merge_insert(transaction, id_text(1), row, &err);
    assert_int_equal(store_commit(transaction, &err), 0);
    return result;
}

static int plan(const char *base, const char *upper)
{
    struct merge_row row = merge(base, upper);
    return plan_row(&row);
}

/* Nothing is planned without a change to the tables that allows it. */
TEST(only_what_the_tree_allows_is_planned)
{
    chain_create();
    assert_int_equal(plan("/i/t0", "/i/t1"), 0); /* t0 is of g11 */
    group_delete("g11");
    assert_int_equal(plan("/i/t0", "/i/t3"), 0); /* t1 is of g12, and t3 the top */
    assert_int_equal(plan("/i/t1", "/i/t0"), 0);
    assert_int_equal(plan("/i/t0", "/i/t0"), 0);
    assert_int_equal(plan("/i/t0", "/i/none"), 0);
    assert_int_equal(plan("/i/none", "/i/t1"), 0);
    static const char *const obstacles[] = {
        "role = 'given'",
        "is_kept = 1",
        "is_complete = 0",
        NULL,
    };
    for (size_t i = 0; obstacles[i]; i++) {
        char sql[128];
        snprintf(sql, sizeof(sql), "UPDATE images SET %s WHERE path = '/i/t0'", obstacles[i]);
        store_sql(sql);
        assert_int_equal(plan("/i/t0", "/i/t1"), 0);
        store_sql("UPDATE images SET role = 'attached', is_kept = 0, is_complete = 1 "
                  "WHERE path = '/i/t0'");
    }
    store_sql("UPDATE images SET role = 'attached', made_by = NULL WHERE path = '/i/t1'");
    assert_int_equal(plan("/i/t0", "/i/t1"), 0);
    store_sql("UPDATE images SET role = 'made', made_by = 'g', is_kept = 1 WHERE path = '/i/t1'");
    assert_int_equal(plan("/i/t0", "/i/t1"), 0);
    store_sql("UPDATE images SET is_kept = 0 WHERE path = '/i/t1'; INSERT INTO images (path, "
              "format, backing, role) VALUES ('/i/clone', 'qcow2', '/i/t0', 'attached')");
    assert_int_equal(plan("/i/t0", "/i/t1"), 0);
    store_sql("DELETE FROM images WHERE path = '/i/clone'");
    assert_int_equal(plan("/i/t0", "/i/t1"), 1);
}

/* What is under a device that cannot be opened may be any image; it is nobody's once detached. */
TEST(nothing_is_planned_while_a_device_may_stand_on_anything)
{
    struct image_row *rows;
    size_t count;
    chain_create();
    group_delete("g11");
    store_sql("INSERT INTO images (path, format, backing, role, made_by) VALUES "
              "('/i/leaf', 'qcow2', '/i/t2', 'made', 'g')");
    device_must_insert("vdb", 2); /* whose chain is not known */
    assert_int_equal(plan("/i/t0", "/i/t1"), 0);
    assert_int_equal(plan(NULL, "/i/leaf"), 0);
    assert_int_equal(store_image_tree(store, "/i/t3", &rows, &count, &err), 0);
    assert_false(rows[0].is_complete);
    assert_true(rows[1].is_complete);
    image_rows_free(rows, count);
    struct device_row row = device_example("vdb", 2);
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    assert_int_equal(store_image_tree(store, "/i/t3", &rows, &count, &err), 0);
    assert_true(rows[0].is_complete);
    image_rows_free(rows, count);
    store_sql("UPDATE images SET is_complete = 0 WHERE path = '/i/t0'");
    assert_int_equal(plan(NULL, "/i/leaf"), 0);
    store_sql("UPDATE images SET is_complete = 1 WHERE path = '/i/t0'");
    assert_int_equal(plan("/i/t0", "/i/t1"), 1);
    assert_int_equal(plan(NULL, "/i/leaf"), 1);
}

/* It is the top of no device yet, and nothing stands on it. */
TEST(an_overlay_whose_group_has_not_ended_stays)
{
    struct image_row *rows;
    size_t count;
    chain_create();
    struct group_row group = group_example(20, "vda", "/i/t3", "/i/t4");
    group.kind = GROUP_KIND_CUT; /* its frozen member is of no use to anybody */
    assert_int_equal(STORE_CHANGE(store_group_insert, &group), 0);
    for (int i = 0; i < 2; i++) { /* `preparing`, then the top */
        assert_int_equal(plan(NULL, "/i/t4"), 0);
        assert_int_equal(store_image_tree(store, "/i/t4", &rows, &count, &err), 0);
        assert_string_equal(rows[count - 1].path, "/i/t4");
        assert_string_equal(rows[count - 1].device, "vda");
        image_rows_free(rows, count);
        if (i == 0)
            group_must_become(&group, GROUP_COMMITTED);
    }
}

TEST(a_file_goes_only_if_it_was_made_and_nothing_needs_it)
{
    chain_create();
    assert_int_equal(plan(NULL, "/i/t3"), 0); /* the top */
    assert_int_equal(plan(NULL, "/i/t2"), 0);
    store_sql("INSERT INTO images (path, format, backing, role, made_by) VALUES "
              "('/i/leaf', 'qcow2', '/i/t2', 'made', 'g')");
    struct merge_row row = merge(NULL, "/i/leaf");
    assert_int_equal(plan_row(&row), 1);
    assert_int_equal(plan(NULL, "/i/leaf"), 0); /* once */
    struct store_transaction *transaction = store_begin(store, &err);
    row.stage = MERGE_COPYING;
    assert_int_equal(store_merge_update_stage(transaction, &row, &err), 0);
    assert_int_equal(store_merge_redirect(transaction, &row, &err), 1);
    assert_int_equal(store_merge_redirect(transaction, &row, &err), 0);
    row.stage = MERGE_DONE;
    assert_int_equal(store_merge_update_stage(transaction, &row, &err), 1);
    assert_int_equal(store_commit(transaction, &err), 0);
    assert_int_equal(store_number("SELECT count(*) FROM images WHERE path = '/i/leaf'"), 0);
    assert_int_equal(store_number("SELECT count(*) FROM images"), 4);
}

TEST(two_merges_never_share_an_image)
{
    chain_create();
    group_delete("g11");
    group_delete("g12");
    assert_int_equal(plan("/i/t0", "/i/t2"), 1);
    assert_int_equal(plan("/i/t0", "/i/t2"), 0);
    assert_int_equal(plan("/i/t0", "/i/t1"), 0);
    assert_int_equal(plan("/i/t1", "/i/t2"), 0);
    store_sql("UPDATE merges SET base = '/i/t0', upper = '/i/t2', stage = 'done'");
    assert_int_equal(plan("/i/t1", "/i/t2"), 1);
    assert_int_equal(plan("/i/t0", "/i/t1"), 0);
    store_sql("UPDATE merges SET stage = 'done'");
    store_sql("INSERT INTO merges (job_id, device, base, upper, stage) SELECT job_id, device, "
              "'/i/t0', '/i/t3', 'planned' FROM merges LIMIT 1");
    assert_int_equal(plan("/i/t1", "/i/t2"), 0); /* within it */
}

static int go_on(struct merge_row *row, enum merge_stage stage)
{
    struct store_transaction *transaction = store_begin(store, &err);
    row->stage = stage;
    int changed = stage == MERGE_REDIRECTED ? store_merge_redirect(transaction, row, &err)
                                            : store_merge_update_stage(transaction, row, &err);
    assert_int_equal(store_commit(transaction, &err), 0);
    return changed;
}

TEST(stages_come_in_their_order)
{
    chain_create();
    group_delete("g11");
    struct merge_row row = merge("/i/t0", "/i/t1");
    assert_int_equal(plan_row(&row), 1);
    for (enum merge_stage now = MERGE_PLANNED; now <= MERGE_DONE; now++) {
        for (enum merge_stage next = MERGE_COPYING; next <= MERGE_DONE; next++)
            if (next != now + 1)
                assert_int_equal(go_on(&row, next), 0);
        row.offset_bytes = 100 + now;
        struct store_transaction *transaction = store_begin(store, &err);
        assert_int_equal(store_merge_update_offset(transaction, &row, &err), now == MERGE_COPYING);
        assert_int_equal(store_commit(transaction, &err), 0);
        if (now < MERGE_DONE)
            assert_int_equal(go_on(&row, now + 1), 1);
    }
    struct job_row job;
    assert_int_equal(store_job_get(store, id_text(1), &job, &err), 1);
    assert_int_equal(job.merge_count, 1);
    assert_int_equal(job.merges[0].id, row.id);
    assert_string_equal(job.merges[0].base, "/i/t0");
    assert_string_equal(job.merges[0].upper, "/i/t1");
    assert_string_equal(job.merges[0].device, "vda");
    assert_int_equal(job.merges[0].stage, MERGE_DONE);
    assert_int_equal(job.merges[0].offset_bytes, 100 + MERGE_COPYING);
    job_row_clear(&job);
}

TEST(what_named_the_upper_image_names_the_base)
{
    chain_create();
    group_delete("g11");
    group_delete("g12");
    struct merge_row row = merge("/i/t0", "/i/t2");
    assert_int_equal(plan_row(&row), 1);
    for (enum merge_stage stage = MERGE_COPYING; stage <= MERGE_REDIRECTED; stage++)
        assert_int_equal(go_on(&row, stage), 1);
    struct image_row *rows;
    size_t count;
    assert_int_equal(store_image_tree(store, "/i/t3", &rows, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_string_equal(rows[0].path, "/i/t0");
    assert_string_equal(rows[0].group_name, "g13");
    assert_string_equal(rows[1].backing, "/i/t0");
    image_rows_free(rows, count);
    struct group_row group;
    assert_int_equal(store_group_get(store, "g13", &group, &err), 0);
    assert_string_equal(group.members[0].backing_file, "/i/t0");
    assert_string_equal(group.members[0].backing_format, "raw");
    assert_string_equal(group.members[0].backing_identity, "0");
    assert_string_equal(group.members[0].backing_image, "/i/t0");
    group_row_clear(&group);
    /* The base stays a file that is never written by a device; the others do not exist. */
    assert_int_equal(store_number("SELECT group_concat(identity) = '0' FROM frozen_files"), 1);
    assert_int_equal(store_number("SELECT count(*) FROM pragma_foreign_key_check"), 0);
}

/* Another job, of that group. */
static int adopt(unsigned id, const char *of_group)
{
    char group_id[STORE_ID_CHARS + 1];
    snprintf(group_id, sizeof(group_id), "%s", of_group);
    struct job_row job = job_example(id);
    job.group_id = group_id;
    assert_int_equal(STORE_CHANGE(store_job_insert, &job), 0);
    struct store_transaction *transaction = store_begin(store, &err);
    int adopted = store_merge_adopt(transaction, job.id, group_id, &err);
    assert_int_equal(store_commit(transaction, &err), 0);
    return adopted;
}

TEST(what_a_job_left_undone_is_finished_by_the_next_one_of_its_tree)
{
    chain_create();
    group_delete("g11");
    group_delete("g12");
    struct merge_row row = merge("/i/t0", "/i/t1");
    row.group_id = "group";
    row.copy_bytes = 1000;
    assert_int_equal(plan_row(&row), 1);
    assert_int_equal(go_on(&row, MERGE_COPYING), 1);
    row.offset_bytes = 4096;
    row.pushed_bytes = 300;
    struct store_transaction *transaction = store_begin(store, &err);
    assert_int_equal(store_merge_update_offset(transaction, &row, &err), 1);
    assert_int_equal(store_commit(transaction, &err), 0);
    assert_int_equal(adopt(2, id_text(12)), 0); /* the job has not finished */
    store_sql("UPDATE jobs SET state = 'cancelled', finished_at_us = 1");
    assert_int_equal(adopt(3, "of another tree"), 0);
    assert_int_equal(adopt(4, id_text(12)), 1);
    struct job_row job;
    assert_int_equal(store_job_get(store, id_text(4), &job, &err), 1);
    assert_int_equal(job.merge_count, 1);
    assert_int_equal(job.total_bytes, 700);
    assert_string_equal(job.merges[0].group_id, "group");
    assert_int_equal(job.merges[0].pushed_bytes, 300);
    job_row_clear(&job);
}

TEST(files_that_only_have_to_go_are_removed_by_any_job)
{
    chain_create();
    group_delete("g11");
    struct merge_row row = merge("/i/t0", "/i/t1");
    assert_int_equal(plan_row(&row), 1);
    for (enum merge_stage stage = MERGE_COPYING; stage <= MERGE_REDIRECTED; stage++)
        assert_int_equal(go_on(&row, stage), 1);
    store_sql("UPDATE jobs SET state = 'failed', finished_at_us = 1");
    assert_int_equal(adopt(2, "of another tree"), 1);
}

static int attach(const char *name, unsigned id, struct image_row *chain, size_t count)
{
    struct device_row device = device_example(name, id);
    device.chain_seen = store_merges_generation(store);
    device.image = device.top = chain[0].path;
    device.chain = chain;
    device.chain_count = count;
    return STORE_CHANGE(store_device_insert, &device);
}

/* t0 <- t2 is being merged, with t1 in between. */
TEST(nothing_is_put_on_images_that_are_merged)
{
    struct image_row chain[] = {{.path = "/i/hand", .format = "qcow2"},
                                {.path = "/i/t2", .format = "qcow2"},
                                {.path = "/i/t1", .format = "qcow2"},
                                {.path = "/i/t0", .format = "raw"}};
    chain_create();
    group_delete("g11");
    group_delete("g12");
    struct merge_row row = merge("/i/t0", "/i/t2");
    assert_int_equal(plan_row(&row), 1);
    for (enum merge_stage stage = MERGE_PLANNED; stage <= MERGE_COPIED; stage++) {
        if (stage > MERGE_PLANNED)
            assert_int_equal(go_on(&row, stage), 1);
        for (size_t first = 1; first < 4; first++) { /* itself, and an overlay of it */
            struct image_row hand[4] = {{.path = "/i/other", .format = "qcow2"}};
            memcpy(&hand[1], &chain[first], (4 - first) * sizeof(*chain));
            assert_int_equal(attach("top", 50, &chain[first], 4 - first), -1);
            assert_int_equal(err.code, ErrDeviceInUse);
            if (first == 1 && stage < MERGE_COPIED)
                continue;
            assert_int_equal(attach("over", 51, hand, 5 - first), -1);
            assert_int_equal(err.code, ErrDeviceInUse);
        }
        if (stage == MERGE_PLANNED)
            assert_int_equal(attach("hand", 52, chain, 4), 0); /* found before its place is taken */
    }
    store_sql("UPDATE jobs SET state = 'failed', finished_at_us = 1"); /* nobody goes on with it */
    assert_int_equal(attach("top", 50, &chain[3], 1), -1);
    assert_int_equal(err.code, ErrGroupDeleting);
    struct device_row hand = device_example("hand", 52);
    assert_int_equal(STORE_CHANGE(store_device_delete, &hand), 0);
    assert_int_equal(attach("hand", 53, chain, 4), 0); /* as it stood there before */
}

/* An attach that opened its files before a merge was done has a chain of files that are gone. */
TEST(chains_that_were_read_before_a_merge_was_done_are_not_recorded)
{
    struct image_row hand[] = {{.path = "/i/hand", .format = "qcow2"},
                               {.path = "/i/t1", .format = "qcow2"},
                               {.path = "/i/t0", .format = "raw"}};
    struct image_row other = {.path = "/i/other", .format = "raw"};
    chain_create();
    group_delete("g11");
    struct merge_row row = merge("/i/t0", "/i/t1");
    assert_int_equal(plan_row(&row), 1);
    struct device_row device = device_example("hand", 50), apart = device_example("apart", 51);
    device.chain_seen = apart.chain_seen = store_merges_generation(store);
    device.chain = hand;
    device.chain_count = 3;
    apart.chain = &other;
    apart.chain_count = 1;
    device.image = device.top = hand[0].path;
    apart.image = apart.top = other.path;
    for (enum merge_stage stage = MERGE_COPYING; stage <= MERGE_DONE; stage++)
        assert_int_equal(go_on(&row, stage), 1);
    assert_int_equal(STORE_CHANGE(store_device_insert, &device), -1);
    assert_int_equal(err.code, ErrDeviceInUse);
    device.chain = &hand[1]; /* the image that went, itself */
    device.chain_count = 2;
    device.image = device.top = hand[1].path;
    assert_int_equal(STORE_CHANGE(store_device_insert, &device), -1);
    assert_int_equal(err.code, ErrDeviceInUse);
    assert_int_equal(STORE_CHANGE(store_device_insert, &apart), 0);
    device = device_example("hand", 52); /* opened since, beneath the top */
    device.chain_seen = store_merges_generation(store);
    device.chain = &hand[2];
    device.chain_count = 1;
    device.image = device.top = hand[2].path;
    device.read_only = true;
    assert_int_equal(STORE_CHANGE(store_device_insert, &device), 0);
    assert_int_equal(store_number("SELECT count(*) FROM images WHERE path = '/i/t1'"), 0);
}

/* A merge may be done between the opening of the frozen image and the row of what stands on it. */
TEST(clones_and_rollbacks_stand_on_the_image_that_the_group_has_now)
{
    struct image_row *rows;
    size_t count;
    chain_create();
    group_delete("g11");
    struct merge_row row = merge("/i/t0", "/i/t1");
    assert_int_equal(plan_row(&row), 1);
    for (enum merge_stage stage = MERGE_COPYING; stage <= MERGE_DONE; stage++)
        assert_int_equal(go_on(&row, stage), 1);
    char origin[STORE_ID_CHARS + 1];
    snprintf(origin, sizeof(origin), "%s", id_text(12));
    struct device_row clone = device_example("clone", 50);
    clone.state = DEVICE_ROW_CREATING;
    clone.origin_how = "clone";
    clone.origin_group = origin;
    clone.origin_device = "vda";
    clone.origin_base = "/i/t1";
    assert_int_equal(STORE_CHANGE(store_device_insert, &clone), -1);
    assert_int_equal(err.code, ErrDeviceInUse);
    clone.origin_base = "/i/t0";
    assert_int_equal(STORE_CHANGE(store_device_insert, &clone), 0);
    struct group_row back = group_example(20, "vda", "/i/t3", "/i/t4");
    back.kind = GROUP_KIND_ROLLBACK;
    back.rolled_back_to = origin;
    back.members[0].base_file = "/i/t1";
    assert_int_equal(STORE_CHANGE(store_group_insert, &back), -1);
    assert_int_equal(err.code, ErrDeviceInUse);
    back.members[0].base_file = "/i/t0";
    assert_int_equal(STORE_CHANGE(store_group_insert, &back), 0);
    assert_int_equal(store_image_tree(store, "/i/t4", &rows, &count, &err), 0);
    assert_true(rows[0].is_complete);
    image_rows_free(rows, count);
}
