/* SPDX-License-Identifier: Apache-2.0
 *
 * All changes of a transaction are there once it is committed, also if the process is killed then;
 * none is after a rollback, a kill, or a query that failed. Readers see none of them before the
 * commit.
 */
#include "tests/lib/store-fixture.h"

#include <signal.h>
#include <sys/wait.h>

static const struct fixture fixture = STORE_FIXTURE;

/* A device, a group of it and a frozen file: rows of every table. */
static int insert_all(struct store_transaction *transaction, const char *name, unsigned id)
{
    struct device_row device = device_example(name, id);
    struct group_row group = group_example(id + 100, name, "/i/base", "/i/overlay");
    struct frozen_file_row frozen = {.identity = (char *)(uintptr_t)name, .path = "/i/base"};
    return store_device_insert(transaction, &device, &err) == 0 &&
                   store_group_insert(transaction, &group, &err) == 0 &&
                   store_frozen_file_insert(transaction, &frozen, 1, &err) == 0
               ? 0
               : -1;
}

/* Whether all rows that insert_all() made are there; it must be all or none. */
static bool all_are_there(const char *name, unsigned id)
{
    struct device_row device;
    struct group_row group;
    struct frozen_file_row *frozen;
    size_t count, found = 0;
    bool has_device = store_device_get(store, name, &device, &err) == 0;
    if (!has_device)
        assert_int_equal(err.code, ErrDeviceNotFound);
    bool has_group = store_group_get(store, id_text(id + 100), &group, &err) == 0;
    if (!has_group)
        assert_int_equal(err.code, ErrGroupNotFound);
    assert_int_equal(store_frozen_file_list(store, NULL, 100, &frozen, &count, &err), 0);
    for (size_t i = 0; i < count; i++)
        found += strcmp(frozen[i].identity, name) == 0;
    frozen_file_rows_free(frozen, count);
    assert_int_equal(has_device, has_group);
    assert_int_equal(has_device, found == 1);
    if (has_device) {
        device_row_clear(&device);
        group_row_clear(&group);
    }
    return has_device;
}

TEST(what_is_committed_stays)
{
    struct store_transaction *transaction = store_begin(store, &err);
    assert_non_null(transaction);
    assert_int_equal(insert_all(transaction, "a", 1), 0);
    assert_false(all_are_there("a", 1)); /* for readers, before the commit */
    assert_int_equal(store_commit(transaction, &err), 0);
    assert_true(all_are_there("a", 1));
    store_restart();
    assert_true(all_are_there("a", 1));
}

TEST(what_is_rolled_back_was_never_there)
{
    struct store_transaction *transaction = store_begin(store, &err);
    assert_non_null(transaction);
    assert_int_equal(insert_all(transaction, "a", 1), 0);
    store_rollback(transaction);
    assert_false(all_are_there("a", 1));
    assert_false(store_is_failed(store));
    transaction = store_begin(store, &err);
    assert_int_equal(insert_all(transaction, "a", 1), 0); /* its names are free */
    assert_int_equal(store_commit(transaction, &err), 0);
    assert_true(all_are_there("a", 1));
}

TEST(a_query_that_failed_takes_the_others_with_it)
{
    device_must_insert("b", 2);
    struct device_row taken = device_example("b", 3);
    struct store_transaction *transaction = store_begin(store, &err);
    assert_int_equal(insert_all(transaction, "a", 1), 0);
    assert_int_equal(store_device_insert(transaction, &taken, &err), -1);
    assert_int_equal(err.code, ErrDeviceExists);
    assert_int_equal(store_commit(transaction, &err), -1);
    assert_int_equal(err.code, ErrInternalError);
    assert_false(all_are_there("a", 1));
    assert_false(store_is_failed(store));
}

TEST(a_kill_leaves_what_was_committed)
{
    store_close(steal(store));
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        store = store_open(STORE_PATH, &err);
        struct store_transaction *transaction = store ? store_begin(store, &err) : NULL;
        if (!transaction || insert_all(transaction, "a", 1) != 0 ||
            store_commit(transaction, &err) != 0)
            _exit(1);
        transaction = store_begin(store, &err);
        if (!transaction || insert_all(transaction, "b", 2) != 0)
            _exit(2);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    store = store_open(STORE_PATH, &err);
    assert_non_null(store);
    assert_true(all_are_there("a", 1));
    assert_false(all_are_there("b", 2));
}
