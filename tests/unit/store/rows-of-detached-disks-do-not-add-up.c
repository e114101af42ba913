/* SPDX-License-Identifier: Apache-2.0
 *
 * Of disks that were detached, and stand alone, the newest rows stay; all others go, a few with
 * each detach. A row stays that anything else depends on: what stands on an image, or an image on
 * it, a device, a group's member, a merge, a job, a frozen file, or that it is not known what is
 * under it.
 */
#include "tests/lib/store-fixture.h"

static const struct fixture fixture = STORE_FIXTURE;

enum { DISKS = 2000, KEPT = 1000, AT_ONCE = 8 };

static void detach_one(unsigned id)
{
    struct device_row row = device_example("vdz", id);
    row.chain = &(struct image_row){.path = "/i/vdz", .identity = "vdz", .format = "qcow2"};
    row.chain_count = 1;
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
}

/* Each in a way of its own; older than all others. */
static void depended_on_create(void)
{
    store_sql("INSERT INTO images (path, format, backing, role, made_by, is_complete) VALUES "
              "('/i/base', 'raw', NULL, 'given', NULL, 1), "
              "('/i/child', 'qcow2', '/i/base', 'attached', NULL, 1), "
              "('/i/top', 'raw', NULL, 'attached', NULL, 1), ('/i/frozen', 'raw', NULL, "
              "'attached', NULL, 1), "
              "('/i/lower', 'raw', NULL, 'attached', NULL, 1), ('/i/upper', 'raw', NULL, "
              "'attached', NULL, 1), "
              "('/i/root', 'raw', NULL, 'attached', NULL, 1), ('/i/marked', 'raw', NULL, "
              "'attached', NULL, 1), "
              "('/i/unknown', 'raw', NULL, 'attached', NULL, 0), ('/i/made', 'raw', NULL, 'made', "
              "'m', 1), "
              "('/i/alike', 'raw', NULL, 'given', NULL, 1)");
    store_sql("UPDATE images SET identity = 'i' WHERE path = '/i/alike'");
    store_sql("INSERT INTO frozen_files (identity, path) VALUES ('m', '/i/marked'), ('i', '/i/j')");
    struct group_row group = group_example(1, "vda", "/i/frozen", "/i/over");
    assert_int_equal(STORE_CHANGE(store_group_insert, &group), 0);
    store_sql("UPDATE members SET backing_image = '/i/frozen'; DELETE FROM images WHERE made_by = "
              "(SELECT id FROM groups)");
    store_sql("INSERT INTO jobs (id, kind, state, group_id, spec, kept, total_bytes, done_bytes, "
              "rate_bytes_per_second, created_at_us, sequence) SELECT 'j', 'delete', 'paused', id, "
              "'{\"roots\":[null,\"/i/root\"]}', '[]', 0, 0, 0, 0, 1 FROM groups");
    store_sql("INSERT INTO merges (job_id, device, base, upper, stage) "
              "VALUES ('j', 'vda', '/i/lower', '/i/upper', 'planned')");
    device_must_insert("vda", 2);
    store_sql("UPDATE devices SET top_image = '/i/top' WHERE name = 'vda'");
}

TEST(rows_of_detached_disks_do_not_add_up)
{
    depended_on_create();
    const int64_t depended_on = store_number("SELECT count(*) FROM images");
    store_sql("WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 2000) "
              "INSERT INTO images (path, format, role, is_kept) "
              "SELECT '/d/' || i, 'raw', 'attached', 1 FROM n");
    for (unsigned i = 0; i < (DISKS + (unsigned)depended_on) / AT_ONCE + 2; i++)
        detach_one(100 + i);
    assert_int_equal(store_number("SELECT count(*) FROM images WHERE path LIKE '/i/%' AND "
                                  "path <> '/i/vdz'"),
                     depended_on);
    int64_t disks = store_number("SELECT count(*) FROM images WHERE path LIKE '/d/%'");
    assert_true(disks <= KEPT && disks >= KEPT - 2);
    assert_int_equal(store_number("SELECT count(*) FROM images WHERE path = '/d/1' OR path = "
                                  "'/d/2000'"),
                     1);
    assert_int_equal(store_number("SELECT count(*) FROM pragma_foreign_key_check"), 0);
}
