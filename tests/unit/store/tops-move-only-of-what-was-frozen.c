/* SPDX-License-Identifier: Apache-2.0
 *
 * A committed group moves the top of a device only if that is the very device (by id) and its top
 * is the image that the group froze (by path or by identity). While a group's row says
 * `committing`, no other group is begun of a device whose member is not settled, else the later
 * one's top could be recorded before the earlier one's.
 */
#include "tests/lib/store-fixture.h"

static const struct fixture fixture = STORE_FIXTURE;

/* Inserts a group that freezes `backing` of the device, and brings it to `committing`. */
static int freeze(unsigned id, const char *device, const char *backing, const char *overlay)
{
    struct group_row row = group_example(id, device, backing, overlay);
    if (STORE_CHANGE(store_group_insert, &row) != 0)
        return -1;
    group_must_become(&row, GROUP_COMMITTING);
    return 0;
}

static void commit(unsigned id)
{
    struct group_row row = {.has_cut = true, .cut_at_us = 1000 + id};
    snprintf(row.id, sizeof(row.id), "%s", id_text(id));
    assert_int_equal(STORE_CHANGE(store_group_update_committed, &row), 0);
}

static void must_have_top(const char *name, const char *top, const char *format)
{
    struct device_row row;
    assert_int_equal(store_device_get(store, name, &row, &err), 0);
    assert_string_equal(row.top, top);
    assert_string_equal(row.top_format, format);
    device_row_clear(&row);
}

/* Another device takes the name; its first top is /i/NAME as well. */
static void replace_device(const char *name, unsigned id)
{
    struct device_row row;
    assert_int_equal(store_device_get(store, name, &row, &err), 0);
    assert_int_equal(STORE_CHANGE(store_device_delete, &row), 0);
    device_row_clear(&row);
    device_must_insert(name, id);
}

TEST(the_next_group_waits_until_the_last_one_is_recorded)
{
    device_must_insert("a", 1);
    device_must_insert("b", 2);
    assert_int_equal(freeze(11, "a", "/i/a", "/i/a1"), 0);
    assert_int_equal(freeze(12, "a", "/i/a1", "/i/a2"), -1);
    assert_int_equal(err.code, ErrDeviceInUse);
    assert_int_equal(freeze(13, "b", "/i/b", "/i/b1"), 0);
    commit(13);
    must_have_top("b", "/i/b1", "qcow2");
    must_have_top("a", "/i/a", "raw");
    commit(11);
    must_have_top("a", "/i/a1", "qcow2");
    assert_int_equal(freeze(12, "a", "/i/a1", "/i/a2"), 0);

    /* The device goes, and another of its name comes, while the row is still `committing`. */
    replace_device("a", 3);
    assert_int_equal(freeze(14, "a", "/i/a", "/i/a4"), 0);
    commit(14);
    must_have_top("a", "/i/a4", "qcow2");
    commit(12);
    must_have_top("a", "/i/a4", "qcow2");
}

TEST(another_device_of_the_name_keeps_its_top)
{
    device_must_insert("a", 1);
    assert_int_equal(freeze(11, "a", "/i/a", "/i/a1"), 0);
    replace_device("a", 2);
    commit(11);
    must_have_top("a", "/i/a", "raw");
    assert_int_equal(store_number("SELECT last_snapshot_at_us IS NULL FROM devices"), 1);
}

/* Freezes the only device; `sql` changes what is known of it before the group is committed. */
static void freeze_change_commit(const char *sql)
{
    device_must_insert("a", 1);
    assert_int_equal(freeze(11, "a", "/i/a", "/i/a1"), 0);
    store_sql(sql);
    commit(11);
}

TEST(another_image_keeps_its_place)
{
    freeze_change_commit("UPDATE devices SET top = '/i/other'");
    must_have_top("a", "/i/other", "raw");
    assert_int_equal(store_number("SELECT count(*) FROM groups WHERE state = 'committed'"), 1);
}

/* Nor do two images of which nothing is known have the same identity. */
TEST(an_image_is_the_same_by_path_or_by_identity)
{
    freeze_change_commit("UPDATE devices SET top = '/i/moved', top_identity = 'x';"
                         "UPDATE members SET backing_identity = 'x', snapshot_identity = 'y'");
    must_have_top("a", "/i/a1", "qcow2");
    assert_int_equal(store_number("SELECT top_identity = 'y' FROM devices"), 1);
    assert_int_equal(store_number("SELECT last_snapshot_at_us FROM devices"), 1011);

    device_must_insert("b", 2);
    assert_int_equal(freeze(12, "b", "/i/b", "/i/b1"), 0);
    store_sql("UPDATE devices SET top = '/i/moved' WHERE name = 'b'");
    commit(12);
    must_have_top("b", "/i/moved", "raw");
}

/* A group of two new devices that is committing; its row. */
static struct group_row group_of_two(struct member_row members[2])
{
    device_must_insert("a", 1);
    device_must_insert("b", 2);
    struct group_row row = group_example(11, "a", "/i/a", "/i/a1");
    members[0] = members[1] = row.members[0];
    members[1].device = "b";
    members[1].backing_file = "/i/b";
    members[1].snapshot_file = "/i/b1";
    row.members = members;
    row.member_count = 2;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    group_must_become(&row, GROUP_COMMITTING);
    return row;
}

/* The settled member's device goes on to another group, and back to the image below, while the
 * group waits for its other member: neither is undone by the group's end. */
TEST(a_settled_member_moves_at_once_and_only_then)
{
    struct member_row members[2];
    struct group_row row = group_of_two(members);
    row.has_cut = true;
    row.cut_at_us = 5;
    assert_int_equal(STORE_CHANGE(store_group_update_cut, &row), 0);
    must_have_top("b", "/i/b", "raw");
    assert_int_equal(freeze(12, "b", "/i/b", "/i/b2"), -1);
    assert_int_equal(err.code, ErrDeviceInUse);
    members[1].is_settled = true;
    assert_int_equal(STORE_CHANGE(store_group_update_cut, &row), 0);
    must_have_top("a", "/i/a", "raw");
    must_have_top("b", "/i/b1", "qcow2");
    assert_int_equal(store_number("SELECT last_snapshot_at_us FROM devices WHERE name = 'b'"), 5);
    assert_int_equal(freeze(13, "a", "/i/a", "/i/a2"), -1);
    assert_int_equal(err.code, ErrDeviceInUse);
    assert_int_equal(freeze(12, "b", "/i/b1", "/i/b2"), 0);
    commit(12);
    must_have_top("b", "/i/b2", "qcow2");
    assert_int_equal(STORE_CHANGE(store_group_update_cut, &row), 0);
    must_have_top("b", "/i/b2", "qcow2");
    store_sql("UPDATE devices SET top = '/i/b' WHERE name = 'b'");
    assert_int_equal(STORE_CHANGE(store_group_update_committed, &row), 0);
    must_have_top("a", "/i/a1", "qcow2");
    must_have_top("b", "/i/b", "qcow2");
}

TEST(all_members_move_with_one_commit)
{
    struct member_row members[2];
    struct group_row row = group_of_two(members);
    struct store_transaction *transaction = store_begin(store, &err);
    assert_int_equal(store_group_update_committed(transaction, &row, &err), 0);
    must_have_top("a", "/i/a", "raw");
    must_have_top("b", "/i/b", "raw");
    assert_int_equal(store_commit(transaction, &err), 0);
    must_have_top("a", "/i/a1", "qcow2");
    must_have_top("b", "/i/b1", "qcow2");
}
