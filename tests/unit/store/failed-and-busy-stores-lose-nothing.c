/* SPDX-License-Identifier: Apache-2.0
 *
 * Another program that locks the database makes a change StoreBusy: nothing is changed, the store
 * has not failed, and reading goes on. An error of the disk is StoreFailed: every call is refused
 * until the store is opened again, and then the change is there whole or not at all.
 */
#include "tests/lib/store-fixture.h"

#include <signal.h>
#include <sys/resource.h>

static const struct fixture fixture = STORE_FIXTURE;

TEST(a_lock_of_another_program_is_waited_for_and_reported)
{
    struct device_row row = device_example("b", 2), got;
    device_must_insert("a", 1);
    shell("mkfifo locked");
    FILE *other = popen("sqlite3 " STORE_PATH, "we");
    assert_non_null(other);
    fputs("BEGIN IMMEDIATE;\n.shell : >locked\n", other);
    fflush(other);
    shell(": <locked"); /* until it has got there */
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), -1);
    assert_int_equal(err.code, ErrStoreBusy);
    assert_false(store_is_failed(store));
    assert_int_equal(store_device_get(store, "a", &got, &err), 0);
    device_row_clear(&got);
    assert_int_equal(pclose(other), 0); /* its end rolls back */
    assert_int_equal(STORE_CHANGE(store_device_insert, &row), 0);
    assert_int_equal(store_number("SELECT count(*) FROM devices"), 2);
}

/* No file may grow beyond `bytes`: what is written there fails, as on a full disk. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* With room for one page more each time, until the change succeeds. */
TEST(an_error_of_the_disk_is_survived)
{
    struct device_row got;
    bool is_done = false;
    CLEANUP_FREE char *labels = calloc(1, 40000); /* some pages, so that some are written */
    memset(labels, 'x', 39999);
    device_must_insert("a", 1);
    unsigned failures = 0;
    for (rlim_t room = 4096; !is_done; room += 4096) {
        store_restart(); /* whose log is empty again */
        struct device_row row = device_example("b", 2);
        row.labels = labels;
        limit_files(room);
        is_done = STORE_CHANGE(store_device_insert, &row) == 0;
        limit_files(RLIM_INFINITY);
        if (is_done)
            break;
        failures++;
        assert_int_equal(err.code, ErrStoreFailed);
        assert_true(store_is_failed(store));
        assert_int_equal(store_device_get(store, "a", &got, &err), -1);
        assert_int_equal(err.code, ErrStoreFailed);
        assert_null(store_begin(store, &err));
        assert_int_equal(err.code, ErrStoreFailed);
        assert_int_equal(store_reopen(store, &err), 0);
        assert_int_equal(store_device_get(store, "a", &got, &err), 0);
        device_row_clear(&got);
        assert_int_equal(store_device_get(store, "b", &got, &err), -1);
        assert_int_equal(err.code, ErrDeviceNotFound);
    }
    assert_true(failures > 5);
    assert_int_equal(store_device_get(store, "b", &got, &err), 0);
    assert_string_equal(got.labels, labels);
    device_row_clear(&got);
}
