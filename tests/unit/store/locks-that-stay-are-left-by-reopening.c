/* SPDX-License-Identifier: Apache-2.0
 *
 * SQLite unlocks its index of the log by fcntl, and passes over an error of that: the connection
 * keeps the lock, and the next one to read waits for it for ten seconds, for ever anew. Whichever
 * call of fcntl fails once: after at most a few refusals the store is read again, or says that it
 * has failed, and is then as good as before once it is opened again.
 *
 * The time that SQLite waits for locks goes by at once here.
 */
#include "tests/lib/store-fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 3, CALLS_MAX = 300 };

static int calls_left; /* until one fails; 0: none does */
static bool has_failed;

static int fcntl_faulty(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (command == F_SETLK && calls_left > 0 && --calls_left == 0) {
        has_failed = true;
        errno = ENOMEM;
        return -1;
    }
    return fcntl(fd, command, argument);
}

int usleep(useconds_t us)
{
    (void)us;
    return 0;
}

int nanosleep(const struct timespec *time, struct timespec *left)
{
    (void)time, (void)left;
    return 0;
}

static bool try_read(void)
{
    struct device_row row = {0};
    int ret = store_device_get(store, "d", &row, &err);
    if (ret == 0)
        device_row_clear(&row);
    return ret == 0;
}

static bool try_write(void)
{
    static unsigned number = 1;
    char name[16];
    snprintf(name, sizeof(name), "e%u", ++number);
    struct device_row row = device_example(name, number);
    return STORE_CHANGE(store_device_insert, &row) == 0;
}

/* One that has failed is read again by a connection of its own: no try may be the last word. */
static void must_recover(int call)
{
    for (int i = 0; i < TRIES && !store_is_failed(store); i++)
        if (try_read() && try_write())
            return;
    if (!store_is_failed(store))
        fail_msg("after call %d of fcntl failed: %s", call, err.message);
    assert_int_equal(store_reopen(store, &err), 0);
    assert_true(try_read());
    assert_true(try_write());
}

static const struct fixture fixture = STORE_FIXTURE;

TEST(any_call_that_locks_or_unlocks_fails_once)
{
    (void)state;
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    assert_int_equal(vfs->xSetSystemCall(vfs, "fcntl", (sqlite3_syscall_ptr)fcntl_faulty),
                     SQLITE_OK);
    device_must_insert("d", 1);
    for (int call = 1; call < CALLS_MAX; call++) {
        has_failed = false;
        calls_left = call;
        try_write();
        try_read();
        calls_left = 0;
        must_recover(call);
        if (!has_failed)
            return;
    }
    fail_msg("there are more calls than %d", CALLS_MAX);
}
