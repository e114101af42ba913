/* SPDX-License-Identifier: Apache-2.0
 *
 * Freezing hands the image's lock from the writer's description to a reader's: before the one goes
 * the other has its bytes, so no writer of another process finds a gap. Nothing of it can fail the
 * snapshot, and where the file system has no locks the image is used without, and that is logged
 * once. dup3, fcntl and open of the code under test come by here first.
 */
#include "tests/lib/disks.h"

#include "block/device/clients.h"
#include "block/device/exports.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

static const char *const NAMES[] = {"d0"};

static int dup3_error, lock_error, unlock_error; /* what the calls fail with; 0: they do not */
static int passes;                               /* dup3 calls that were looked at */

/* The first of the bytes that no description but that of `fd` holds; 0: they are all held. */
static int first_free(int fd, const short *bytes)
{
    for (; *bytes; bytes++) {
        struct flock lock = {
            .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = *bytes, .l_len = 1};
        if (syscall(SYS_fcntl, fd, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
            return *bytes;
    }
    return 0;
}

int dup3(int from, int to, int flags)
{
    static const short READER[] = {100, 201, 203, 0};
    if (!lock_error) {
        passes++;
        assert_int_equal(0, first_free(to, READER));   /* `from` has them */
        assert_int_equal(0, first_free(from, READER)); /* `to` has them still */
    }
    errno = dup3_error;
    return dup3_error ? -1 : (int)syscall(SYS_dup3, from, to, flags);
}

int fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *argument = va_arg(args, void *);
    va_end(args);
    if (command == F_OFD_SETLK) {
        bool is_unlock = ((struct flock *)argument)->l_type == F_UNLCK;
        errno = is_unlock ? unlock_error : lock_error;
        if (errno)
            return -1;
    }
    return (int)syscall(SYS_fcntl, fd, command, argument);
}

static int faults_end(void **state)
{
    dup3_error = lock_error = unlock_error = passes = 0;
    return disks_end(state);
}

/* What is logged between these two is in the file "log". */
static int stderr_kept = -1;
static void log_begin(void)
{
    CLEANUP_CLOSE int log = open("log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    stderr_kept = dup(STDERR_FILENO);
    dup2(log, STDERR_FILENO);
}

static void log_end(void)
{
    dup2(stderr_kept, STDERR_FILENO);
    close(stderr_kept);
}

/* A group, then reading its frozen member. */
static void group_must_work(struct block *block)
{
    disk_write(block, "d0", 0, 1);
    group_take(block, "g.qcow2", 1, NAMES);
    disk_write(block, "d0", 0, 2);
    struct device *member = frozen_use(block, "d0", "g");
    unsigned char byte = 0;
    assert_int_equal(0, device_read(member, &byte, 0, 1));
    assert_int_equal(1, byte);
    export_unuse(block, member);
    assert_int_equal(2, disk_read(block, "d0", 0));
}

static int no_locks_begin(void **state)
{
    lock_error = ENOLCK;
    return disks_begin(state);
}

static const struct fixture fixture = {.begin = disks_begin, .end = faults_end};
static const struct fixture without_locks = {.begin = no_locks_begin, .end = faults_end};

TEST(test_no_gap)
{
    group_must_work(*state);
    assert_int_equal(1, passes);
}

TEST(test_descriptor_stays)
{
    dup3_error = EBUSY;
    group_must_work(*state);
    assert_int_equal(1, passes);
}

TEST(test_lock_stays)
{
    unlock_error = ENOLCK;
    group_must_work(*state);
    assert_int_equal(1, passes);
}

/* Worse cannot come: the old description stays, a writer's lock with it. The snapshot stands and
 * the device works. */
TEST(test_both_stay)
{
    struct block *block = *state;
    unlock_error = ENOLCK;
    dup3_error = EBUSY;
    log_begin();
    group_take(block, "g.qcow2", 1, NAMES);
    log_end();
    shell("test $(wc -l <log) = 1 && grep -q \"/d0.qcow2' keeps .* bars even readers\" log");
    disk_write(block, "d0", 0, 2);
    assert_int_equal(2, disk_read(block, "d0", 0));
}

TEST(test_no_locks)
{
    static const int ERRORS[] = {EINVAL, ENOTSUP, ENOSYS, ENOLCK};
    struct block *block = *state;
    struct err err = {.message = ""};
    shell("qemu-img create -q -f qcow2 x.qcow2 1M");
    struct device_spec spec = {.name = "x", .image = "x.qcow2", .format = "qcow2"};
    for (size_t i = 0; i < sizeof(ERRORS) / sizeof(*ERRORS); i++) {
        lock_error = ERRORS[i];
        log_begin();
        assert_int_equal(0, block_device_open(block, &spec, &err));
        assert_int_equal(0, block_device_close(block, "x", &err));
        log_end();
        shell("test $(wc -l <log) = 1 && grep -q \"/x.qcow2' is used without a lock\" log");
    }
    /* Others' locks are seen all the same. */
    CLEANUP_CLOSE int fd = open("x.qcow2", O_RDONLY | O_CLOEXEC);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 201, .l_len = 1};
    assert_int_equal(0, syscall(SYS_fcntl, fd, F_OFD_SETLK, &lock));
    assert_int_equal(-1, block_device_open(block, &spec, &err));
    assert_int_equal(ErrOpenFileFailed, err.code);
    /* What is no answer to the question is an error. */
    lock_error = EIO;
    assert_int_equal(-1, block_device_open(block, &spec, &err));
    assert_non_null(strstr(err.message, "cannot be locked: Input/output error"));
}

TEST_ON(without_locks, test_group_without_locks)
{
    log_begin();
    group_must_work(*state);
    log_end();
    /* The overlay; the frozen image, which stays open, is not told again. */
    shell("test $(wc -l <log) = 1");
}
