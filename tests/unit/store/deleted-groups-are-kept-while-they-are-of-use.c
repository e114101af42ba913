/* SPDX-License-Identifier: Apache-2.0
 *
 * Of deleted groups, and apart from them of cuts, the newest 1,000 are kept, and none that was
 * taken more than 30 days before the next group comes; but for as long as something refers to them.
 * Those go on being looked for behind many that stay. GET /limits: deleted_groups,
 * deleted_group_days.
 */
#include "tests/lib/store-fixture.h"

static const struct fixture fixture = STORE_FIXTURE;

#define DAY_US ((uint64_t)24 * 3600 * 1000000)
#define NOW_US (1000 * DAY_US)
#define AGE_US (STORE_DELETED_DAYS_MAX * DAY_US)

static unsigned next_id = 90000;

/* Groups of that kind with the ids from `first` to `last`, deleted. */
static void deleted_insert(const char *kind, unsigned first, unsigned last, uint64_t created_at_us)
{
    char sql[1024];
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n (i) AS (SELECT %u UNION ALL SELECT i + 1 FROM n WHERE i < %u) "
             "INSERT INTO groups (id, state, kind, name, labels, created_at_us, sequence) "
             "SELECT printf('6f1c1f5e-8f0a-4c57-9b8e-%%012d', i), 'deleted', '%s', 'd' || i, '{}', "
             "%llu, (SELECT coalesce(max(sequence), 0) FROM groups) + 1 + i - %u FROM n",
             first, last, kind, (unsigned long long)created_at_us, first);
    store_sql(sql);
    snprintf(
        sql, sizeof(sql),
        "INSERT INTO members (group_id, position, device, snapshot_file, format) SELECT id, 0, "
        "'vda', '/i/' || name, 'qcow2' FROM groups WHERE state = 'deleted' ON CONFLICT DO "
        "NOTHING");
    store_sql(sql);
}

static void another_comes(uint64_t now_us)
{
    struct group_row row = group_example(next_id++, "a", "/i/base", "/i/overlay");
    row.state = GROUP_ABORTED;
    row.created_at_us = now_us;
    if (STORE_CHANGE(store_group_insert, &row) != 0)
        fail_msg("%s", err.message);
}

static void must_be_there(unsigned id, bool wanted)
{
    struct group_row row;
    int found = store_group_get(store, id_text(id), &row, &err);
    if ((found == 0) != wanted)
        fail_msg("group %u: %s", id, err.message);
    if (wanted)
        group_row_clear(&row);
}

static int64_t deleted_count(void)
{
    return store_number("SELECT count(*) FROM groups WHERE state = 'deleted'");
}

TEST(the_newest_are_kept_of_each_kind)
{
    deleted_insert("snapshot", 1, STORE_DELETED_GROUPS_MAX, NOW_US);
    deleted_insert("cut", 2001, 2000 + STORE_DELETED_GROUPS_MAX, NOW_US);
    another_comes(NOW_US);
    assert_int_equal(deleted_count(), 2 * STORE_DELETED_GROUPS_MAX);
    deleted_insert("rollback", 5000, 5000, NOW_US);
    deleted_insert("cut", 6000, 6001, NOW_US);
    another_comes(NOW_US);
    must_be_there(1, false);
    must_be_there(2, true);
    must_be_there(5000, true);
    must_be_there(2002, false);
    must_be_there(2003, true);
    assert_int_equal(deleted_count(), 2 * STORE_DELETED_GROUPS_MAX);
    assert_int_equal(store_number("SELECT count(*) FROM members WHERE group_id NOT IN "
                                  "(SELECT id FROM groups)"),
                     0);
}

TEST(the_old_go_a_few_at_a_time)
{
    deleted_insert("snapshot", 1, 20, NOW_US - AGE_US - 1);
    deleted_insert("snapshot", 21, 22, NOW_US - AGE_US);
    another_comes(NOW_US);
    must_be_there(8, false);
    must_be_there(9, true);
    another_comes(NOW_US);
    another_comes(NOW_US);
    must_be_there(20, false);
    must_be_there(21, true);
    another_comes(NOW_US + 1);
    assert_int_equal(deleted_count(), 0);
}

TEST(what_something_refers_to_stays)
{
    deleted_insert("snapshot", 1, 6, 0);
    device_must_insert("clone", 100);
    store_sql("UPDATE devices SET origin_group = '6f1c1f5e-8f0a-4c57-9b8e-000000000001'");
    deleted_insert("rollback", 7, 7, NOW_US);
    store_sql("UPDATE groups SET rolled_back_to = '6f1c1f5e-8f0a-4c57-9b8e-000000000002' WHERE "
              "name = 'd7'");
    store_sql("INSERT INTO jobs (id, kind, state, group_id, spec, rate_bytes_per_second, "
              "created_at_us) VALUES "
              "('j', 'delete', 'running', '6f1c1f5e-8f0a-4c57-9b8e-000000000003', '{}', 0, 0)");
    store_sql("INSERT INTO merges (job_id, device, upper, stage, group_id) VALUES "
              "('j', 'a', '/i/u', 'done', '6f1c1f5e-8f0a-4c57-9b8e-000000000004')");
    store_sql("INSERT INTO idempotency_keys (caller, key, request_hash, request_id, created_at_us, "
              "resource_kind, "
              "resource_id) VALUES ('c', 'k', '', '', 0, 'group', "
              "'6f1c1f5e-8f0a-4c57-9b8e-000000000005')");
    another_comes(NOW_US);
    for (unsigned id = 1; id <= 7; id++)
        must_be_there(id, id != 6);
    store_sql("DELETE FROM merges");
    store_sql("DELETE FROM jobs");
    store_sql("DELETE FROM idempotency_keys");
    store_sql("UPDATE groups SET rolled_back_to = NULL");
    store_sql("UPDATE devices SET origin_group = NULL");
    another_comes(NOW_US);
    assert_int_equal(deleted_count(), 1);
}

TEST(those_behind_many_that_stay_are_found)
{
    deleted_insert("snapshot", 1, 40, 0);
    deleted_insert("rollback", 101, 135, NOW_US);
    store_sql("UPDATE groups SET rolled_back_to = printf('6f1c1f5e-8f0a-4c57-9b8e-%012d', "
              "CAST(substr(name, 2) AS INTEGER) - 100) WHERE kind = 'rollback'");
    for (int i = 0; i < 5; i++)
        another_comes(NOW_US);
    must_be_there(35, true);
    must_be_there(36, false);
    must_be_there(40, false);
    store_sql("UPDATE groups SET rolled_back_to = NULL WHERE name = 'd101'");
    for (int i = 0; i < 6; i++)
        another_comes(NOW_US);
    must_be_there(1, false);
    must_be_there(2, true);
}
