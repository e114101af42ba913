/* SPDX-License-Identifier: Apache-2.0
 *
 * Of failed attempts the newest STORE_ABORTED_GROUPS_MAX are kept, and none that is older than
 * STORE_ABORTED_DAYS_MAX when the next group comes; groups of other states stay whatever their age.
 */
#include "tests/lib/store-fixture.h"

static const struct fixture fixture = STORE_FIXTURE;

#define DAY_US ((uint64_t)24 * 3600 * 1000000)
#define NOW_US (1000 * DAY_US)
#define AGE_US (STORE_ABORTED_DAYS_MAX * DAY_US)

static void insert(unsigned id, enum group_state state, uint64_t created_at_us)
{
    struct group_row row = group_example(id, "a", "/i/base", "/i/overlay");
    row.state = state;
    row.created_at_us = created_at_us;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
}

static void must_be_there(unsigned id, bool wanted)
{
    struct group_row row;
    assert_int_equal(store_group_get(store, id_text(id), &row, &err), wanted ? 0 : -1);
    if (wanted)
        group_row_clear(&row);
}

TEST(the_newest_of_all_states_is_found)
{
    uint64_t at_us = 1;
    assert_int_equal(store_group_newest(store, &at_us, &err), 0);
    assert_int_equal(at_us, 0);
    insert(1, GROUP_ABORTED, NOW_US);
    insert(2, GROUP_PREPARING, NOW_US - 1);
    assert_int_equal(store_group_newest(store, &at_us, &err), 0);
    assert_int_equal(at_us, NOW_US);
}

TEST(the_newest_are_kept)
{
    insert(1, GROUP_PREPARING, NOW_US);
    for (unsigned i = 0; i < STORE_ABORTED_GROUPS_MAX; i++)
        insert(1000 + i, GROUP_ABORTED, NOW_US - i); /* a clock that goes back changes nothing */
    must_be_there(1000, true);
    insert(5000, GROUP_ABORTED, NOW_US);
    must_be_there(1000, false);
    must_be_there(1001, true);
    must_be_there(5000, true);
    must_be_there(1, true);
    assert_int_equal(store_number("SELECT count(*) FROM groups WHERE state = 'aborted'"),
                     STORE_ABORTED_GROUPS_MAX);
    assert_int_equal(store_number("SELECT count(*) FROM members"), STORE_ABORTED_GROUPS_MAX + 1);
    insert(6000, GROUP_PREPARING, NOW_US); /* which is not one of them */
    must_be_there(1001, true);
}

TEST(the_old_go_with_their_members)
{
    insert(1, GROUP_ABORTED, NOW_US - AGE_US - 1);
    insert(2, GROUP_ABORTED, NOW_US - AGE_US);
    insert(3, GROUP_PREPARING, NOW_US - 2 * AGE_US);
    must_be_there(1, true); /* nothing goes before the next group comes */
    insert(4, GROUP_PREPARING, NOW_US);
    must_be_there(1, false);
    must_be_there(2, true);
    must_be_there(3, true);
    assert_int_equal(store_number("SELECT count(*) FROM members"), 3);
    insert(5, GROUP_PREPARING, NOW_US + 1);
    must_be_there(2, false);
}

/* So that no group waits for the deletion of many. */
TEST(a_backlog_goes_a_few_at_a_time)
{
    for (unsigned id = 1; id <= 20; id++)
        insert(id, GROUP_ABORTED, 0);
    insert(100, GROUP_PREPARING, NOW_US);
    must_be_there(8, false);
    must_be_there(9, true);
    insert(101, GROUP_PREPARING, NOW_US);
    insert(102, GROUP_PREPARING, NOW_US);
    assert_int_equal(store_number("SELECT count(*) FROM groups WHERE state = 'aborted'"), 0);
}

TEST(a_clock_before_the_bound_prunes_nothing)
{
    insert(1, GROUP_ABORTED, 0);
    insert(2, GROUP_ABORTED, AGE_US);
    must_be_there(1, true);
    insert(3, GROUP_ABORTED, AGE_US + 1);
    must_be_there(1, false);
}
