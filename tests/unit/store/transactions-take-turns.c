/* SPDX-License-Identifier: Apache-2.0
 *
 * One transaction is open at a time. A thread that begins a second one within its own is told so,
 * and its own goes on; another thread waits until it is ended. Queries that only read wait for
 * nobody.
 */
#include "tests/lib/store-fixture.h"

#include <sched.h>
#include <stdatomic.h>

static const struct fixture fixture = STORE_FIXTURE;

TEST(a_second_one_of_the_same_thread_is_an_error_of_ours)
{
    struct device_row row = device_example("a", 1);
    struct store_transaction *transaction = store_begin(store, &err);
    assert_non_null(transaction);
    assert_null(store_begin(store, &err));
    assert_int_equal(err.code, ErrInternalError);
    assert_int_equal(store_device_insert(transaction, &row, &err), 0);
    assert_int_equal(store_commit(transaction, &err), 0);
    assert_int_equal(store_number("SELECT count(*) FROM devices"), 1);
    device_must_insert("b", 2); /* and the next one is free to begin */
}

static atomic_bool is_trying, is_ended;

struct other {
    bool began_early;
    int result;
    struct err err;
};

/* Wants the name that the main thread's transaction takes. */
static void *other_run(void *arg)
{
    struct other *other = arg;
    struct device_row row = device_example("a", 2);
    atomic_store(&is_trying, true);
    struct store_transaction *transaction = store_begin(store, &other->err);
    other->began_early = !atomic_load(&is_ended);
    other->result = transaction ? store_device_insert(transaction, &row, &other->err) : -1;
    if (transaction)
        store_rollback(transaction);
    return NULL;
}

TEST(other_threads_wait_and_see_what_was_committed)
{
    pthread_t thread;
    struct other other = {.result = 0};
    struct device_row row = device_example("a", 1);
    struct store_transaction *transaction = store_begin(store, &err);
    assert_non_null(transaction);
    atomic_store(&is_trying, false);
    atomic_store(&is_ended, false);
    assert_int_equal(pthread_create(&thread, NULL, other_run, &other), 0);
    while (!atomic_load(&is_trying))
        sched_yield();
    assert_int_equal(store_device_insert(transaction, &row, &err), 0);
    /* Readers wait for neither: this would hang, or see the row. */
    assert_int_equal(store_device_get(store, "a", &(struct device_row){.name = NULL}, &err), -1);
    assert_int_equal(err.code, ErrDeviceNotFound);
    atomic_store(&is_ended, true);
    assert_int_equal(store_commit(transaction, &err), 0);
    pthread_join(thread, NULL);
    assert_false(other.began_early);
    assert_int_equal(other.result, -1);
    assert_int_equal(other.err.code, ErrDeviceExists);
}
