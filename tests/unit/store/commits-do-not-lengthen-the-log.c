/* SPDX-License-Identifier: Apache-2.0
 *
 * The write-ahead log has all of its blocks from the start, so a commit allocates none and does not
 * change its length. Zeros after what is valid lead nobody astray: SQLite finds all that was
 * committed after a kill. Where another program writes at the start, or there is no space, the
 * store opens all the same, and at once.
 */
#include "store/log-room.h"
#include "tests/lib/store-fixture.h"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static const struct fixture fixture = STORE_FIXTURE;

static struct stat log_stat(void)
{
    struct stat st;
    assert_int_equal(stat(STORE_PATH "-wal", &st), 0);
    return st;
}

TEST(commits_allocate_nothing)
{
    struct stat before = log_stat();
    assert_int_equal(before.st_size, LOG_ROOM_BYTES);
    assert_true(before.st_blocks * 512 >= LOG_ROOM_BYTES);
    for (unsigned i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "d%u", i);
        device_must_insert(name, i);
    }
    struct stat after = log_stat();
    assert_int_equal(after.st_size, before.st_size);
    assert_int_equal(after.st_blocks, before.st_blocks);
    assert_int_equal(after.st_ino, before.st_ino);
}

TEST(what_was_committed_is_found_after_a_kill)
{
    store_close(steal(store));
    pid_t pid = fork();
    if (pid == 0) {
        store = store_open(STORE_PATH, &err);
        device_must_insert("a", 1);
        raise(SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(log_stat().st_size, LOG_ROOM_BYTES);
    assert_int_equal(store_number("SELECT count(*) FROM devices"), 1); /* an own connection */
    store = store_open(STORE_PATH, &err);
    assert_non_null(store);
    device_must_insert("b", 2);
    assert_int_equal(store_number("SELECT count(*) FROM devices"), 2);
}

TEST(another_writer_is_not_waited_for)
{
    struct timespec begun, ended;
    sqlite3 *other;
    store_close(steal(store));
    assert_int_equal(sqlite3_open(STORE_PATH, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    store = store_open(STORE_PATH, &err);
    clock_gettime(CLOCK_MONOTONIC, &ended);
    assert_non_null(store);
    assert_true((ended.tv_sec - begun.tv_sec) * 1000 < CONNECTION_BUSY_MS - 1000);
    assert_true(log_stat().st_size < LOG_ROOM_BYTES);
    assert_int_equal(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    device_must_insert("a", 1);
    assert_int_equal(store_number("SELECT count(*) FROM devices"), 1);
}

TEST(without_space_the_log_grows_by_and_by)
{
    const struct rlimit small = {.rlim_cur = LOG_ROOM_BYTES / 2, .rlim_max = RLIM_INFINITY};
    const struct rlimit large = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    store_restart();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &large), 0);
    assert_true(log_stat().st_size < LOG_ROOM_BYTES / 2);
    device_must_insert("a", 1);
    assert_int_equal(store_number("SELECT count(*) FROM devices"), 1);
}
