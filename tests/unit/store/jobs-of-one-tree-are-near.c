/* SPDX-License-Identifier: Apache-2.0
 *
 * Two jobs are near each other if they are about images of one tree, also once the images of their
 * groups have gone: then by the lowest images, which their specs name. So they never plan, or
 * merge, in the same tree at once.
 */
#include "tests/lib/store-fixture.h"

#include "store/job-conflicts.h"

static const struct fixture fixture = STORE_FIXTURE;

/* Two trees, of one and of two images. */
static void trees_create(void)
{
    store_sql("INSERT INTO images (path, format, backing, role, made_by) VALUES "
              "('/i/a', 'raw', NULL, 'attached', NULL), ('/i/b', 'raw', NULL, 'attached', NULL), "
              "('/i/a1', 'qcow2', '/i/a', 'made', 'g')");
}

/* The job that deletes group `id`, whose member's image is `image`, or has gone. */
static void job_create(unsigned id, const char *image, const char *spec)
{
    char group_id[STORE_ID_CHARS + 1], sql[512];
    snprintf(group_id, sizeof(group_id), "%s", id_text(id));
    struct job_row job = {
        .kind = JOB_DELETE, .group_id = group_id, .spec = (char *)(uintptr_t)spec, .kept = "[]"};
    snprintf(job.id, sizeof(job.id), "%s", id_text(100 + id));
    assert_int_equal(STORE_CHANGE(store_job_insert, &job), 0);
    snprintf(sql, sizeof(sql),
             "INSERT INTO groups (id, state, name, labels, created_at_us, sequence) "
             "VALUES ('%s', 'deleting', 'g%u', '{}', 0, %u); INSERT INTO members "
             "(group_id, position, device, snapshot_file, format, backing_image) "
             "VALUES ('%s', 0, 'vda', '/i/s', 'qcow2', %s%s%s)",
             group_id, id, id, group_id, image ? "'" : "", image ? image : "NULL",
             image ? "'" : "");
    store_sql(sql);
}

/* Whether one is passed over while the other runs. */
static bool near(unsigned one, unsigned other)
{
    char id[STORE_ID_CHARS + 1], running[64], sql[256];
    snprintf(running, sizeof(running), "[\"%s\"]", id_text(100 + other));
    snprintf(sql, sizeof(sql), "UPDATE jobs SET state = iif(id = '%s', 'queued', 'paused')",
             id_text(100 + one));
    store_sql(sql);
    int found = store_job_find_free(store, "queued", running, id, &err);
    assert_true(found >= 0);
    return found == 0;
}

TEST(jobs_are_near_by_their_images)
{
    trees_create();
    job_create(1, "/i/a", "{}");
    job_create(2, "/i/a1", "{}");
    job_create(3, "/i/b", "{}");
    assert_int_equal(near(1, 2), 1);
    assert_int_equal(near(2, 1), 1);
    assert_int_equal(near(1, 3), 0);
}

TEST(jobs_whose_images_have_gone_are_near_by_their_roots)
{
    trees_create();
    job_create(1, "/i/a1", "{\"roots\":[\"/i/a\"]}");
    job_create(2, NULL, "{\"roots\":[null,\"/i/a\"]}");
    job_create(3, NULL, "{\"roots\":[\"/i/a\"]}");
    job_create(4, NULL, "{\"roots\":[\"/i/b\",null]}");
    job_create(5, NULL, "{\"roots\":[null]}");
    assert_int_equal(near(1, 2), 1);
    assert_int_equal(near(3, 1), 1);
    assert_int_equal(near(2, 3), 1);
    assert_int_equal(near(2, 4), 0);
    assert_int_equal(near(4, 5), 0);
    assert_int_equal(near(5, 1), 0);
}

static void must_be_free(const char *running, unsigned expected)
{
    char id[STORE_ID_CHARS + 1];
    int found = store_job_find_free(store, "queued", running, id, &err);
    assert_int_equal(found, expected != 0);
    if (expected)
        assert_string_equal(id, id_text(100 + expected));
}

/* The oldest job of a tree that has none is found behind however many of a tree that has one. */
TEST(jobs_of_busy_trees_are_passed_over)
{
    enum { BUSY = 300 };
    char running[128];
    trees_create();
    for (unsigned i = 1; i <= BUSY; i++)
        job_create(i, i % 2 ? "/i/a" : "/i/a1", "{}");
    job_create(BUSY + 1, "/i/b", "{}");
    job_create(BUSY + 2, NULL, "{\"roots\":[\"/i/c\"]}");
    must_be_free("[]", 1);
    snprintf(running, sizeof(running), "[\"%s\"]", id_text(101));
    must_be_free(running, BUSY + 1);
    size_t length = strlen(running) - 1;
    snprintf(running + length, sizeof(running) - length, ",\"%s\"]", id_text(101 + BUSY));
    must_be_free(running, BUSY + 2);
    length = strlen(running) - 1;
    snprintf(running + length, sizeof(running) - length, ",\"%s\"]", id_text(102 + BUSY));
    must_be_free(running, 0);
}
