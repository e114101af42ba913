/* SPDX-License-Identifier: Apache-2.0
 *
 * A failed fdatasync is never tried again: the kernel may have dropped the pages. The device turns
 * `failed`, says why, refuses every request and every group; other devices go on.
 */
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <errno.h>
#include <string.h>

static const char *const NAMES[] = {"d1", "d0"};

static void device_must_have_failed(struct block *block, const char *name)
{
    struct err err;
    struct device_info info;
    unsigned char byte;
    assert_int_equal(0, block_device_info(block, name, &info, &err));
    assert_true(info.failed);
    assert_non_null(strstr(info.reason, "could not be made durable"));
    device_info_clear(&info);
    assert_int_equal(-EIO, device_read(disk(block, name), &byte, 0, 1));
    assert_int_equal(-EIO, device_write(disk(block, name), "x", 0, 1, 0));
    assert_int_equal(-EIO, device_flush(disk(block, name)));
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_flush_fails)
{
    struct block *block = *state;
    struct err err;
    size_t failed_member;
    disk_write(block, "d0", 0, 1);
    faulty_fail_sync("/d0.qcow2", EIO);
    assert_int_equal(-EIO, device_flush(disk(block, "d0")));
    faulty_fail_sync(NULL, 0);
    device_must_have_failed(block, "d0");
    disk_write(block, "d1", 0, 1);

    assert_null(group_of(block, "g.qcow2", 2, NAMES, &failed_member, &err));
    assert_int_equal(1, failed_member);
    assert_int_equal(ErrDeviceFailed, err.code);
    group_take(block, "g.qcow2", 1, NAMES);
}

/* Before the point of no return a failing disk fails the attempt: all or none. */
TEST(test_flush_fails_in_prepare)
{
    struct block *block = *state;
    struct err err;
    size_t failed_member;
    disk_write(block, "d0", 0, 1);
    faulty_fail_sync("/d0.qcow2", EIO); /* the group begins to flush at once */
    struct group *group = group_of(block, "g.qcow2", 2, NAMES, &failed_member, &err);
    assert_non_null(group);
    assert_int_equal(-1, group_prepare(group, &failed_member, &err));
    assert_int_equal(1, failed_member);
    assert_int_equal(ErrDeviceFailed, err.code);
    assert_int_equal(0, group_abort(group, &err));
    group_free(group);
    device_must_have_failed(block, "d0");
    assert_int_not_equal(0, shell_status("ls -A | grep -q g.qcow2"));
}

/* After it the group stands, and the device tells. */
TEST(test_flush_fails_in_settle)
{
    struct block *block = *state;
    struct group *group = group_must_prepare(block, "g.qcow2", 2, NAMES);
    disk_write(block, "d0", 0, 1);
    group_must_cut(group);
    faulty_fail_sync("/d0.qcow2", EIO);
    group_must_finish(group);
    group_free(group);
    device_must_have_failed(block, "d0");
    disk_write(block, "d1", 0, 1);
    assert_int_equal(0, device_flush(disk(block, "d1")));
}
