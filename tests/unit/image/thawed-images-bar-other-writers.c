/* SPDX-License-Identifier: Apache-2.0
 *
 * From a frozen image to a thawed one and back there is no instant at which another program could
 * lock it for writing. While it is thawed others cannot read it either. If another program reads
 * it, it stays frozen, and may be thawed later. dup3 of the code under test comes by here first.
 */
#include "tests/lib/testlib.h"

#include "block/image/file-table.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

static int dup3_error; /* what it fails with; 0: it does not */
static int passes;     /* calls that were looked at */

/* The first of a reader's bytes that no other description holds; 0: they are all held. */
static int first_free(int fd)
{
    static const short bytes[] = {100, 201, 203, 0};
    for (const short *byte = bytes; *byte; byte++) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = *byte, .l_len = 1};
        if (fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK)
            return *byte;
    }
    return 0;
}

int dup3(int from, int to, int flags)
{
    passes++;
    assert_int_equal(0, first_free(to));   /* `from` has them */
    assert_int_equal(0, first_free(from)); /* `to` has them still */
    errno = dup3_error;
    if (errno)
        return -1;
    int ret = (int)syscall(SYS_dup3, from, to, flags);
    CLEANUP_CLOSE int other = open("lower", O_RDONLY | O_CLOEXEC);
    assert_int_equal(0, first_free(other));
    return ret;
}

static int image_begin(void **state)
{
    shell("rm -f lower; qemu-img create -q -f qcow2 lower 1M");
    *state = chain_must_open("lower", "qcow2", true);
    passes = 0;
    return 0;
}

static int image_end(void **state)
{
    node_unref(*state);
    return 0;
}

static const struct fixture fixture = {
    .begin_all = scratch_begin, .end_all = scratch_end, .begin = image_begin, .end = image_end};

static bool others_may(const char *options)
{
    return shell_status("qemu-io -f qcow2 %s -c 'read 0 512' lower >/dev/null", options) == 0;
}

static bool is_open_to_write(const struct node *node)
{
    return (fcntl(node->fd, F_GETFL) & O_ACCMODE) == O_RDWR;
}

TEST(others_are_barred_while_it_is_thawed)
{
    struct err err;
    struct node *node = *state;
    assert_true(others_may("-r"));
    assert_false(others_may(""));
    assert_int_equal(node_thaw(node, -1, &err), 0);
    assert_true(is_open_to_write(node));
    assert_false(others_may("-r"));
    assert_false(others_may(""));
    assert_int_equal(node_freeze(node), 0);
    assert_false(is_open_to_write(node));
    assert_true(others_may("-r"));
    assert_false(others_may(""));
    assert_int_equal(passes, 2);
}

/* What QEMU does as a reader. */
static int reader_lock(void)
{
    int fd = open("lower", O_RDONLY | O_CLOEXEC);
    for (short byte = 100; byte <= 201; byte = (short)(byte + 101)) {
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
        assert_int_equal(0, fcntl(fd, F_OFD_SETLK, &lock));
    }
    return fd;
}

TEST(with_a_reader_elsewhere_it_stays_frozen)
{
    struct err err;
    struct node *node = *state;
    int reader = reader_lock();
    assert_int_equal(node_thaw(node, -1, &err), -1);
    assert_int_equal(err.code, ErrOpenFileFailed);
    assert_int_equal(err.errnum, EAGAIN); /* so that it is called retryable */
    assert_non_null(strstr(err.message, "locked by another process"));
    assert_int_equal(node_write(node, "x", 0, 1), -EROFS);
    assert_false(is_open_to_write(node));
    assert_true(others_may("-r"));
    close(reader);
    assert_int_equal(node_thaw(node, -1, &err), 0);
    assert_int_equal(node_freeze(node), 0);
}

TEST(what_cannot_be_exchanged_stays_frozen)
{
    struct err err;
    struct node *node = *state;
    dup3_error = EBUSY;
    assert_int_equal(node_thaw(node, -1, &err), -1);
    dup3_error = 0;
    assert_int_equal(err.code, ErrOpenFileFailed);
    assert_int_equal(node_write(node, "x", 0, 1), -EROFS);
    assert_true(others_may("-r"));
    assert_int_equal(node_thaw(node, -1, &err), 0);
    assert_int_equal(node_freeze(node), 0);
}

TEST(another_node_of_the_daemon_keeps_it_frozen)
{
    struct err err;
    struct node *node = *state;
    struct file_table *table = file_table_new();
    struct file_use use = {node->dev, node->ino, node->path, true};
    node_add_claim(node, file_table_claim(table, &use, &err));
    struct file_claim *other = file_table_claim(table, &use, &err);
    assert_int_equal(node_thaw(node, -1, &err), -1);
    assert_int_equal(err.code, ErrDeviceInUse);
    file_claim_release(other);
    assert_int_equal(node_thaw(node, -1, &err), 0);
    assert_null(file_table_claim(table, &use, &err)); /* nobody else opens it meanwhile */
    assert_int_equal(node_freeze(node), 0);
    other = file_table_claim(table, &use, &err);
    assert_non_null(other);
    file_claim_release(other);
    file_claim_release(steal(node->claim));
    file_table_free(table);
}
