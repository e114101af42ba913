/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs: every field comes back; only the changes of the diagram in store/jobs.h are made, each of
 * which counts up the revision; lists go on where the last page ended; finished jobs are kept
 * within bounds, others for as long as they take. A group is deleted only if nobody holds it.
 */
#include "tests/lib/store-fixture.h"

#include "store/holds.h"

static const struct fixture fixture = STORE_FIXTURE;

#define DAY_US ((uint64_t)24 * 3600 * 1000000)

/* Runs a change that returns whether it was made, and commits. */
static int change(int query(struct store_transaction *, const struct job_row *, struct err *),
                  const struct job_row *row)
{
    struct store_transaction *transaction = store_begin(store, &err);
    int changed = query(transaction, row, &err);
    assert_int_equal(store_commit(transaction, &err), 0);
    return changed;
}

static int change_state(unsigned id, enum job_state state, uint64_t at_us)
{
    struct job_row row = job_example(id);
    row.state = state;
    row.has_finished = job_state_is_finished(state);
    row.finished_at_us = at_us;
    row.has_error = state == JOB_FAILED;
    row.error_code = ErrOpenFileFailed;
    row.error_message = "message";
    return change(store_job_update_state, &row);
}

TEST(every_field_comes_back)
{
    struct job_row row = job_example(1), got;
    row.kind = JOB_COPY;
    row.group_id = "group";
    row.device = "vda";
    row.spec = "{\"image\":\"x\"}";
    row.kept = "[1]";
    row.total_bytes = 11;
    row.done_bytes = 12;
    row.rate_bytes_per_second = 13;
    row.created_at_us = 14;
    assert_int_equal(STORE_CHANGE(store_job_insert, &row), 0);
    store_restart();
    assert_int_equal(store_job_get(store, row.id, &got, &err), 1);
    assert_int_equal(got.kind, JOB_COPY);
    assert_int_equal(got.state, JOB_QUEUED);
    assert_string_equal(got.group_id, "group");
    assert_string_equal(got.device, "vda");
    assert_string_equal(got.spec, "{\"image\":\"x\"}");
    assert_string_equal(got.kept, "[1]");
    assert_int_equal(got.total_bytes, 11);
    assert_int_equal(got.done_bytes, 12);
    assert_int_equal(got.rate_bytes_per_second, 13);
    assert_int_equal(got.created_at_us, 14);
    assert_false(got.has_finished || got.has_error);
    assert_int_equal(got.revision, 1);
    assert_int_equal(got.merge_count, 0);
    job_row_clear(&got);
    assert_int_equal(store_job_get(store, "none", &got, &err), 0);

    row.total_bytes = 21;
    row.kept = "[2]";
    assert_int_equal(change(store_job_update_plan, &row), 1);
    row.done_bytes = 22;
    assert_int_equal(change(store_job_update_progress, &row), 1);
    row.rate_bytes_per_second = 23;
    assert_int_equal(change(store_job_update_rate, &row), 1);
    assert_int_equal(change_state(1, JOB_FAILED, 24), 1);
    assert_int_equal(change(store_job_update_plan, &row), 0); /* it has finished */
    assert_int_equal(change(store_job_update_progress, &row), 0);
    assert_int_equal(change(store_job_update_rate, &row), 0);
    job_must_insert(2, 1);
    assert_int_equal(change_state(2, JOB_CANCELLED, 24), 1);
    struct job_row cancelled = job_example(2);
    cancelled.done_bytes = 25; /* until it has stopped */
    assert_int_equal(change(store_job_update_progress, &cancelled), 1);
    assert_int_equal(store_job_get(store, row.id, &got, &err), 1);
    assert_int_equal(got.total_bytes, 21);
    assert_string_equal(got.kept, "[2]");
    assert_int_equal(got.rate_bytes_per_second, 23);
    assert_int_equal(got.state, JOB_FAILED);
    assert_int_equal(got.finished_at_us, 24);
    assert_int_equal(got.error_code, ErrOpenFileFailed);
    assert_string_equal(got.error_message, "message");
    assert_int_equal(got.revision, 5);
    job_row_clear(&got);
}

/* Which states a job comes to from which; by what leads there. */
static int change_file(unsigned id, enum job_file_state file_state, uint64_t offset_bytes)
{
    struct job_row row = job_example(id);
    row.file_state = file_state;
    row.offset_bytes = offset_bytes;
    return change(store_job_update_file, &row);
}

static void file_must_be(unsigned id, enum job_file_state file_state, uint64_t offset_bytes)
{
    struct job_row got;
    assert_int_equal(store_job_get(store, id_text(id), &got, &err), 1);
    assert_int_equal(got.file_state, file_state);
    assert_int_equal(got.offset_bytes, offset_bytes);
    job_row_clear(&got);
}

/* The oldest finished job with a file; 0: there is none. */
static void next_file_must_be(uint64_t after, unsigned id)
{
    struct job_row got = {0};
    assert_int_equal(store_job_next_file(store, after, &got, &err), id != 0);
    if (id)
        assert_string_equal(got.id, id_text(id));
    job_row_clear(&got);
}

TEST(files_of_copies_have_states)
{
    for (unsigned id = 1; id <= 3; id++)
        job_must_insert(id, 1);
    assert_int_equal(change_file(1, JOB_FILE_NONE, 0), 0); /* it has not finished */
    assert_int_equal(change_file(1, JOB_FILE_WHOLE, 0), 0);
    assert_int_equal(change_file(1, JOB_FILE_STAGED, 4096), 1);
    file_must_be(1, JOB_FILE_STAGED, 4096);
    assert_int_equal(change_state(1, JOB_RUNNING, 0), 1);
    assert_int_equal(change_file(1, JOB_FILE_WHOLE, 0), 1);
    file_must_be(1, JOB_FILE_WHOLE, 0);
    assert_int_equal(change_state(1, JOB_PAUSED, 0), 0); /* it ends itself */
    assert_int_equal(change_state(1, JOB_CANCELLED, 1), 0);
    assert_int_equal(change_file(1, JOB_FILE_STAGED, 0), 0);
    assert_int_equal(change_state(1, JOB_DONE, 1), 1);
    file_must_be(1, JOB_FILE_NONE, 0); /* as the row said */

    for (unsigned id = 2; id <= 3; id++) {
        assert_int_equal(change_file(id, JOB_FILE_STAGED, 0), 1);
        next_file_must_be(0, id == 2 ? 0 : 2);
        assert_int_equal(change_state(id, JOB_CANCELLED, 1), 1);
    }
    next_file_must_be(2, 3);
    job_must_insert(4, (STORE_JOB_DAYS_MAX + 1) * DAY_US); /* the old ones go, but for files */
    next_file_must_be(0, 2);
    assert_int_equal(change_file(2, JOB_FILE_NONE, 0), 1);
    assert_int_equal(change_file(3, JOB_FILE_NONE, 0), 1);
    next_file_must_be(0, 0);
}

TEST(only_the_changes_of_the_diagram_are_made)
{
    static const bool is_allowed[JOB_STATES][JOB_STATES] = {
        [JOB_QUEUED] = {[JOB_RUNNING] = true,
                        [JOB_PAUSED] = true,
                        [JOB_FAILED] = true,
                        [JOB_CANCELLED] = true},
        [JOB_RUNNING] = {[JOB_QUEUED] = true,
                         [JOB_PAUSED] = true,
                         [JOB_DONE] = true,
                         [JOB_FAILED] = true,
                         [JOB_CANCELLED] = true},
        [JOB_PAUSED] = {[JOB_QUEUED] = true, [JOB_CANCELLED] = true},
    };
    struct job_row got;
    for (enum job_state from = JOB_QUEUED; from < JOB_STATES; from++)
        for (enum job_state to = JOB_QUEUED; to < JOB_STATES; to++) {
            unsigned id = 100 + from * 10 + to;
            job_must_insert(id, 1);
            if (from == JOB_DONE)
                assert_int_equal(change_state(id, JOB_RUNNING, 1), 1);
            if (from != JOB_QUEUED)
                assert_int_equal(change_state(id, from, 1), 1);
            assert_int_equal(change_state(id, to, 2), is_allowed[from][to]);
            assert_int_equal(store_job_get(store, id_text(id), &got, &err), 1);
            assert_int_equal(got.state, is_allowed[from][to] ? to : from);
            job_row_clear(&got);
        }
    assert_int_equal(change_state(99, JOB_RUNNING, 1), 0); /* there is none */
    for (enum job_state each = JOB_QUEUED; each < JOB_STATES; each++)
        assert_int_equal(job_state_from_name(job_state_name(each)), each);
    assert_int_equal(job_state_from_name("x"), JOB_STATES);
}

/* The last digits of the ids of a page, and where it ends. */
static uint64_t page_must_be(enum job_state state, uint64_t before, size_t limit,
                             const char *wanted)
{
    struct job_row *rows;
    size_t count;
    uint64_t next;
    char got[64] = "";
    assert_int_equal(store_job_list(store, state, before, limit, &rows, &count, &next, &err), 0);
    for (size_t i = 0; i < count; i++)
        got[i] = rows[i].id[STORE_ID_CHARS - 1];
    job_rows_free(rows, count);
    assert_string_equal(got, wanted);
    return next;
}

TEST(lists_go_on_where_the_last_page_ended)
{
    struct job_row row;
    page_must_be(JOB_STATES, 0, 10, "");
    for (unsigned id = 1; id <= 7; id++)
        job_must_insert(id, 1);
    for (unsigned id = 1; id <= 7; id += 2)
        change_state(id, JOB_PAUSED, 1);
    uint64_t next = page_must_be(JOB_STATES, 0, 3, "765");
    next = page_must_be(JOB_STATES, next, 3, "432");
    assert_int_equal(page_must_be(JOB_STATES, next, 3, "1"), 0);
    assert_int_equal(page_must_be(JOB_STATES, 0, 7, "7654321"), 0);
    next = page_must_be(JOB_PAUSED, 0, 2, "75");
    assert_int_equal(page_must_be(JOB_PAUSED, next, 2, "31"), 0);
    page_must_be(JOB_RUNNING, 0, 2, "");

    assert_int_equal(store_job_next(store, JOB_QUEUED, 0, &row, &err), 1);
    assert_string_equal(row.id, id_text(2));
    uint64_t after = row.sequence;
    job_row_clear(&row);
    assert_int_equal(store_job_next(store, JOB_QUEUED, after, &row, &err), 1);
    assert_string_equal(row.id, id_text(4));
    job_row_clear(&row);
    assert_int_equal(store_job_next(store, JOB_DONE, 0, &row, &err), 0);
}

TEST(the_last_job_of_a_group_is_found)
{
    struct job_row row = job_example(1), got;
    row.group_id = "g";
    assert_int_equal(STORE_CHANGE(store_job_insert, &row), 0);
    row = job_example(2);
    row.group_id = "g";
    assert_int_equal(STORE_CHANGE(store_job_insert, &row), 0);
    job_must_insert(3, 1);
    assert_int_equal(store_job_get_of_group(store, "g", &got, &err), 1);
    assert_string_equal(got.id, id_text(2));
    job_row_clear(&got);
    assert_int_equal(store_job_get_of_group(store, "h", &got, &err), 0);
}

/* The limits finished_jobs and finished_job_days. */
TEST(finished_jobs_are_kept_within_bounds)
{
    const unsigned many = STORE_JOBS_MAX + 10;
    job_must_insert(1, 1); /* never finishes */
    job_must_insert(2, 1); /* has left a merge undone */
    change_state(2, JOB_FAILED, 1);
    store_sql("INSERT INTO merges (job_id, device, base, upper, stage) SELECT id, 'vda', '/i/a', "
              "'/i/b', 'redirected' FROM jobs WHERE state = 'failed'");
    for (unsigned i = 0; i < 20; i++) { /* more than are looked at: have left files */
        job_must_insert(100 + i, 1);
        change_state(100 + i, JOB_FAILED, 1);
    }
    store_sql("UPDATE jobs SET file_state = 'staged' WHERE sequence > 2");
    for (unsigned i = 0; i < many; i++) {
        job_must_insert(1000 + i, 1);
        change_state(1000 + i, JOB_CANCELLED, DAY_US + i);
    }
    for (unsigned i = 0; i < 10; i++)
        job_must_insert(9000 + i, DAY_US);
    assert_int_equal(store_number("SELECT count(*) FROM jobs WHERE state = 'cancelled'"),
                     STORE_JOBS_MAX);
    assert_int_equal(store_number("SELECT count(*) FROM jobs WHERE state = 'queued'"), 11);
    /* The 60 oldest, and no more, are too old; a few go at a time. */
    for (unsigned i = 0; i < 20; i++)
        job_must_insert(9100 + i, DAY_US + 70 + STORE_JOB_DAYS_MAX * DAY_US);
    assert_int_equal(store_number("SELECT count(*) FROM jobs WHERE state = 'cancelled'"),
                     STORE_JOBS_MAX - 60);
    assert_int_equal(store_number("SELECT min(finished_at_us) FROM jobs WHERE state <> 'failed'"),
                     DAY_US + 70);
    assert_int_equal(store_number("SELECT count(*) FROM merges"), 1);
    assert_int_equal(store_number("SELECT count(*) FROM jobs WHERE state = 'failed'"), 21);
    store_sql("UPDATE jobs SET file_state = 'none'"); /* the files have gone */
    for (unsigned i = 0; i < 3; i++)
        job_must_insert(9200 + i, DAY_US + 70 + STORE_JOB_DAYS_MAX * DAY_US);
    assert_int_equal(store_number("SELECT count(*) FROM jobs WHERE state = 'failed'"), 1);
}

static int delete_group(unsigned id, uint64_t revision)
{
    struct group_row row = {.revision = revision};
    snprintf(row.id, sizeof(row.id), "%s", id_text(id));
    struct store_transaction *transaction = store_begin(store, &err);
    int changed = store_group_update_deleting(transaction, &row, &err);
    assert_int_equal(store_commit(transaction, &err), 0);
    return changed;
}

TEST(a_group_is_deleted_if_nobody_holds_it)
{
    device_must_insert("vda", 1);
    struct group_row row = group_example(11, "vda", "/i/vda", "/i/o"), got;
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
    assert_int_equal(delete_group(11, 1), 0); /* it is preparing */
    group_must_become(&row, GROUP_COMMITTED);
    assert_int_equal(delete_group(11, 2), 0); /* it was read before that */
    row.revision = 3;
    struct store_transaction *transaction = store_begin(store, &err);
    assert_int_equal(store_hold_insert(transaction, &row, "h", 1, &err), 1);
    assert_int_equal(store_commit(transaction, &err), 0);
    assert_int_equal(delete_group(11, 4), 0);
    row.revision = 4;
    transaction = store_begin(store, &err);
    assert_int_equal(store_hold_delete(transaction, &row, "h", &err), 1);
    assert_int_equal(store_commit(transaction, &err), 0);
    assert_int_equal(STORE_CHANGE(store_group_update_deleted, &row), -1);
    assert_int_equal(err.code, ErrInternalError);
    assert_int_equal(delete_group(11, 5), 1);
    assert_int_equal(delete_group(11, 6), 1); /* for another job */

    /* Until it is gone it has its name. */
    row = group_example(12, "vda", "/i/o", "/i/p");
    row.name = "g11";
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), -1);
    assert_int_equal(err.code, ErrGroupExists);
    row = group_example(11, "vda", "/i/vda", "/i/o");
    assert_int_equal(STORE_CHANGE(store_group_update_deleted, &row), 0);
    assert_int_equal(store_group_get(store, "g11", &got, &err), -1);
    assert_int_equal(store_group_get(store, id_text(11), &got, &err), 0);
    assert_int_equal(got.state, GROUP_DELETED);
    group_row_clear(&got);
    assert_int_equal(delete_group(11, 8), 0);
    row = group_example(12, "vda", "/i/o", "/i/p");
    row.name = "g11";
    assert_int_equal(STORE_CHANGE(store_group_insert, &row), 0);
}
