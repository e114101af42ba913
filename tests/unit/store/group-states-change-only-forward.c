/* SPDX-License-Identifier: Apache-2.0
 *
 * Every change of a group's state, from every state: those of the diagram in store/groups.c are
 * made, any other is refused and leaves all tables as they were.
 */
#include "tests/lib/store-fixture.h"

static const struct fixture fixture = STORE_FIXTURE;

typedef int update_function(struct store_transaction *, const struct group_row *, struct err *);

static const struct {
    update_function *update;
    enum group_state to;
    bool is_from[GROUP_ABORTED + 1];
} changes[] = {
    {store_group_update_committing, GROUP_COMMITTING, {[GROUP_PREPARING] = true}},
    {store_group_update_cut, GROUP_COMMITTING, {[GROUP_COMMITTING] = true}},
    {store_group_update_committed, GROUP_COMMITTED, {[GROUP_COMMITTING] = true}},
    {store_group_update_aborting,
     GROUP_ABORTING,
     {[GROUP_PREPARING] = true, [GROUP_ABORTING] = true}},
    {store_group_update_aborted,
     GROUP_ABORTED,
     {[GROUP_PREPARING] = true, [GROUP_ABORTING] = true}},
};

/* The content of the tables that a change of state may touch, as text. */
static char *content(void)
{
    store_sql("PRAGMA wal_checkpoint");
    return shell_output("sqlite3 -readonly " STORE_PATH " 'SELECT * FROM groups; SELECT * FROM "
                        "members; SELECT * FROM devices; SELECT * FROM frozen_files'");
}

static void change_once(enum group_state from, size_t i)
{
    struct frozen_file_row frozen = {.identity = "f", .path = "/i/f"};
    unsigned id = 100 + from * 10 + (unsigned)i;
    char device[16];
    snprintf(device, sizeof(device), "d%u", id);
    device_must_insert(device, id);
    struct group_row row = group_example(id, device, "/i/base", "/i/overlay"), after;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    group_must_become(&row, from);
    CLEANUP_FREE char *before = content();

    /* All that a wrong change could leave behind. */
    row.has_cut = row.has_sealed = row.has_duration = row.has_error = true;
    row.cut_at_us = row.pause_us = row.sealed_us = row.duration_us = 77;
    row.error_code = ErrOpenFileFailed;
    row.error_message = "unexpected";
    row.members[0].backing_identity = row.members[0].snapshot_identity = "identity";
    row.members[0].has_pause = row.members[0].has_copy_wait = row.members[0].is_settled = true;
    row.frozen = &frozen;
    row.frozen_count = 1;
    bool is_allowed = changes[i].is_from[from];
    assert_int_equal(STORE_CHANGE(changes[i].update, &row), is_allowed ? 0 : -1);
    if (is_allowed) {
        assert_int_equal(store_group_get(store, row.id, &after, &err), 0);
        assert_int_equal(after.state, changes[i].to);
        group_row_clear(&after);
    } else {
        assert_int_equal(err.code, ErrInternalError);
        CLEANUP_FREE char *now = content();
        assert_string_equal(now, before);
    }
}

TEST(only_the_changes_of_the_diagram_are_made)
{
    for (enum group_state from = GROUP_PREPARING; from <= GROUP_ABORTED; from++)
        for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++)
            change_once(from, i);
}

TEST(a_group_that_does_not_exist_is_not_found)
{
    struct group_row row = group_example(1, "a", "/i/base", "/i/overlay");
    row.has_cut = true;
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        assert_int_equal(STORE_CHANGE(changes[i].update, &row), -1);
        assert_int_equal(err.code, ErrGroupNotFound);
    }
    assert_int_equal(store_number("SELECT count(*) FROM groups"), 0);
}

TEST(an_error_that_is_recorded_stays)
{
    struct group_row row = group_example(1, "a", "/i/base", "/i/overlay"), after;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    row.has_error = row.has_error_member = true;
    row.error_code = ErrOpenFileFailed;
    row.error_errnum = 5;
    row.error_message = "the overlay";
    assert_int_equal(STORE_CHANGE(store_group_update_aborting, &row), 0);
    struct group_row plain = group_example(1, "a", "/i/base", "/i/overlay");
    assert_int_equal(STORE_CHANGE(store_group_update_aborted, &plain), 0);
    assert_int_equal(store_group_get(store, row.id, &after, &err), 0);
    assert_int_equal(after.state, GROUP_ABORTED);
    assert_true(after.has_error && after.has_error_member);
    assert_int_equal(after.error_code, ErrOpenFileFailed);
    assert_int_equal(after.error_errnum, 5);
    assert_string_equal(after.error_message, "the overlay");
    group_row_clear(&after);
}

/* A name is taken until its group is sure to be aborted. */
TEST(names_are_free_once_their_group_is_aborting)
{
    for (enum group_state reached = GROUP_PREPARING; reached <= GROUP_ABORTED; reached++) {
        struct group_row row = group_example(10 + reached, "a", "/i/base", "/i/overlay"), found;
        assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
        group_must_become(&row, reached);
        bool is_free = reached >= GROUP_ABORTING;
        assert_int_equal(store_group_get(store, row.name, &found, &err), is_free ? -1 : 0);
        if (!is_free)
            group_row_clear(&found);
        snprintf(row.id, sizeof(row.id), "%s", id_text(20 + reached));
        assert_int_equal(STORE_CHANGE(store_group_insert, &row), is_free ? 0 : -1);
        if (!is_free)
            assert_int_equal(err.code, ErrGroupExists);
    }
}
