/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists in pages: in order, each row once, whatever is inserted or deleted between two pages; a
 * page ends at the limit, or earlier where its rows take more than STORE_PAGE_BYTES_MAX.
 */
#include "tests/lib/store-fixture.h"

static const struct fixture fixture = STORE_FIXTURE;

static void insert_group(unsigned id, enum group_state state)
{
    struct group_row row = group_example(id, "a", "/i/base", "/i/overlay");
    row.state = state;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
}

/* The page below *before must have the groups of these ids, ending with 0; leaves `next` there. */
static void must_list(uint64_t *before, size_t limit, const char *state, const unsigned *ids)
{
    struct group_row *rows;
    size_t count, i = 0;
    const struct group_list_filter filter = {.state = state};
    assert_int_equal(store_group_list(store, &filter, *before, limit, &rows, &count, before, &err),
                     0);
    for (; ids[i]; i++) {
        assert_true(i < count);
        assert_string_equal(rows[i].id, id_text(ids[i]));
        assert_int_equal(rows[i].member_count, 1);
    }
    assert_int_equal(count, i);
    group_rows_free(rows, count);
}
#define IDS(...) ((const unsigned[]){__VA_ARGS__, 0})

TEST(groups_are_listed_newest_first)
{
    uint64_t before = 0;
    must_list(&before, 3, NULL, IDS(0));
    for (unsigned id = 1; id <= 7; id++)
        insert_group(id, id % 2 ? GROUP_PREPARING : GROUP_ABORTED);
    must_list(&before, 3, NULL, IDS(7, 6, 5));
    insert_group(8, GROUP_PREPARING); /* newer: on none of the pages to come */
    store_sql("DELETE FROM groups WHERE sequence = 4");
    must_list(&before, 3, NULL, IDS(3, 2, 1));
    assert_int_equal(before, 0);
    must_list(&before, 2, "aborted", IDS(6, 2));
    assert_int_equal(before, 0);
    must_list(&before, 1, "aborted", IDS(6));
    must_list(&before, 1, "aborted", IDS(2));
    assert_int_equal(before, 0);
}

TEST(pages_of_groups_are_bounded_in_bytes)
{
    uint64_t before = 0;
    CLEANUP_FREE char *labels = NULL;
    const int bytes = STORE_PAGE_BYTES_MAX / 2 - 1000; /* so that two fit */
    assert_true(asprintf(&labels, "{\"x\":\"%0*d\"}", bytes, 0) > 0);
    for (unsigned id = 1; id <= 5; id++) {
        struct group_row row = group_example(id, "a", "/i/base", "/i/overlay");
        row.labels = labels;
        assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    }
    must_list(&before, 100, NULL, IDS(5, 4, 3)); /* the row that goes beyond ends the page */
    must_list(&before, 100, NULL, IDS(2, 1));
    assert_int_equal(before, 0);
}

TEST(the_oldest_groups_of_a_state_come_page_by_page)
{
    struct group_row *rows;
    size_t count;
    uint64_t after = 0;
    for (unsigned id = 1; id <= 7; id++)
        insert_group(id, id == 2 || id == 4 ? GROUP_ABORTED : GROUP_PREPARING);
    const unsigned pages[][3] = {{1, 3}, {5, 6}, {7}, {0}};
    for (size_t page = 0; page < 4; page++) {
        assert_int_equal(
            store_group_list_oldest(store, GROUP_PREPARING, after, 2, &rows, &count, &err), 0);
        for (size_t i = 0; i < count; i++) {
            assert_string_equal(rows[i].id, id_text(pages[page][i]));
            after = rows[i].sequence;
        }
        assert_int_equal(pages[page][count], 0);
        group_rows_free(rows, count);
    }
}

/* The page after that name must have the devices whose names are these letters. */
static void must_list_devices(const char *after, size_t limit, const char *names)
{
    struct device_row *rows;
    size_t count;
    assert_int_equal(store_device_list(store, after, limit, &rows, &count, &err), 0);
    assert_int_equal(count, strlen(names));
    for (size_t i = 0; i < count; i++)
        assert_true(rows[i].name[0] == names[i] && rows[i].name[1] == 0);
    device_rows_free(rows, count);
}

TEST(devices_are_listed_by_name)
{
    must_list_devices(NULL, 10, "");
    device_must_insert("d", 1);
    device_must_insert("b", 2);
    device_must_insert("f", 3);
    must_list_devices(NULL, 2, "bd");
    device_must_insert("a", 4); /* before the page, and behind it */
    device_must_insert("e", 5);
    must_list_devices("d", 2, "ef");
    must_list_devices("f", 2, "");
    must_list_devices("c", 1, "d"); /* a name that is gone, or never was */
}

TEST(frozen_files_are_listed_by_identity)
{
    struct frozen_file_row *rows, files[] = {{"3", "/i/c"}, {"1", "/i/a"}, {"2", "/i/b"}};
    struct frozen_file_row again = {"2", "/i/elsewhere"};
    size_t count;
    assert_int_equal(STORE_CHANGE(store_frozen_file_insert, files, 3), 0);
    assert_int_equal(STORE_CHANGE(store_frozen_file_insert, &again, 1), 0); /* which stays */
    assert_int_equal(store_frozen_file_list(store, NULL, 2, &rows, &count, &err), 0);
    assert_int_equal(count, 2);
    assert_string_equal(rows[0].path, "/i/a");
    assert_string_equal(rows[1].path, "/i/b");
    frozen_file_rows_free(rows, count);
    assert_int_equal(store_frozen_file_list(store, "2", 2, &rows, &count, &err), 0);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].path, "/i/c");
    frozen_file_rows_free(rows, count);
}
