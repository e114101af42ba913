/* SPDX-License-Identifier: Apache-2.0
 *
 * Once the write-ahead log is in use it has all of its blocks: a commit allocates none and does not
 * change its length. Zeros after what is valid lead nobody astray: SQLite finds all that was
 * committed before a kill. Where there is no space the log grows by and by.
 */
#include "store/log-room.h"
#include "tests/lib/store-fixture.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const struct fixture fixture = STORE_FIXTURE;

enum { MANY = 100 };

static struct stat log_stat(void)
{
    struct stat st;
    assert_int_equal(stat(STORE_PATH "-wal", &st), 0);
    return st;
}

static void devices_must_insert(unsigned first)
{
    for (unsigned i = first; i < first + MANY; i++) {
        char name[16];
        snprintf(name, sizeof(name), "d%u", i);
        device_must_insert(name, i);
    }
}

TEST(commits_allocate_nothing)
{
    assert_true(log_stat().st_size < LOG_ROOM_FROM_BYTES);
    devices_must_insert(0);
    struct stat before = log_stat();
    assert_int_equal(before.st_size, LOG_ROOM_BYTES);
    assert_true(before.st_blocks * 512 >= LOG_ROOM_BYTES);
    devices_must_insert(MANY);
    struct stat after = log_stat();
    assert_int_equal(after.st_size, before.st_size);
    assert_int_equal(after.st_blocks, before.st_blocks);
    assert_int_equal(after.st_ino, before.st_ino);
}

TEST(what_was_committed_is_found_after_a_kill)
{
    int status;
    store_close(steal(store));
    pid_t pid = fork();
    if (pid == 0) {
        store = store_open(STORE_PATH, &err);
        devices_must_insert(0);
        raise(SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(log_stat().st_size, LOG_ROOM_BYTES);
    store = store_open(STORE_PATH, &err);
    assert_non_null(store);
    assert_int_equal(store_number("SELECT count(*) FROM devices"), MANY);
    devices_must_insert(MANY);
    assert_int_equal(store_number("SELECT count(*) FROM devices"), 2 * MANY);
}

TEST(without_space_the_log_grows_by_and_by)
{
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){LOG_ROOM_BYTES - 1, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    devices_must_insert(0);
    assert_true(log_stat().st_size < LOG_ROOM_BYTES - 1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    devices_must_insert(MANY);
    assert_true(log_stat().st_size < LOG_ROOM_BYTES); /* it is tried once */
    assert_int_equal(store_number("SELECT count(*) FROM devices"), 2 * MANY);
}
