/* SPDX-License-Identifier: Apache-2.0
 *
 * A flush that fails for want of space, memory or descriptors is the matter of whoever asked for
 * it. The device stays online and loses nothing, and the next flush tries again: also of an image
 * that a group has frozen, of which no guest hears but by its own flushes.
 */
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>

static const char *const NAMES[] = {"d0"};
static const int ERRNUMS[] = {ENOSPC, EDQUOT, ENOMEM, EMFILE, EINTR, EIO};
#define for_each_errnum(i) for (size_t i = 0; i < sizeof(ERRNUMS) / sizeof(*ERRNUMS); i++)

static void device_must_be_online(struct block *block)
{
    struct err err;
    struct device_info info;
    assert_int_equal(0, block_device_info(block, "d0", &info, &err));
    assert_false(info.failed);
    device_info_clear(&info);
    disk_write(block, "d0", 9, 9);
    assert_int_equal(9, disk_read(block, "d0", 9));
}

/* The only member's frozen image could not be made durable; the device is held. */
static void member_must_await_flush(struct group *group)
{
    struct group_member_wait wait;
    assert_int_equal(group_finish_await(group, 1, 0), GROUP_FINISH_PENDING);
    do {
        sched_yield();
        group_member_wait(group, 0, &wait);
    } while (wait.changes || !wait.is_flushing);
    assert_true(wait.is_waiting);
}

static struct group *group_make(struct block *block, const char *suffix)
{
    struct group *group = group_must_prepare(block, suffix, 1, NAMES);
    return group;
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_flush)
{
    struct block *block = *state;
    for_each_errnum(i)
    {
        disk_write(block, "d0", 1, (unsigned char)(i + 1));
        faulty_fail_flush("/d0.qcow2", ERRNUMS[i]);
        assert_int_equal(-ERRNUMS[i], device_flush(disk(block, "d0")));
        device_must_be_online(block);
        faulty_fail_flush(NULL, 0);
        assert_int_equal(0, device_flush(disk(block, "d0")));
        assert_true(image_has("d0.qcow2", "qcow2", 1, (unsigned char)(i + 1)));
    }
}

TEST(test_detach)
{
    struct block *block = *state;
    struct err err;
    disk_write(block, "d0", 1, 7);
    faulty_fail_flush("/d0.qcow2", ENOSPC);
    assert_int_equal(-1, block_device_close(block, "d0", &err));
    device_must_be_online(block);
    faulty_fail_flush(NULL, 0);
    assert_int_equal(0, block_device_close(block, "d0", &err));
    assert_true(image_has("d0.qcow2", "qcow2", 1, 7));
}

TEST(test_settle)
{
    struct block *block = *state;
    char suffix[] = "0.qcow2";
    char image[32] = "d0.qcow2", next[64];
    for_each_errnum(i)
    {
        suffix[0] = (char)('0' + i);
        struct group *group = group_make(block, suffix);
        disk_write(block, "d0", 1, (unsigned char)(i + 1)); /* after prepare's flush */
        CLEANUP(node) struct node *frozen = device_top(disk(block, "d0"));
        group_must_cut(group);
        snprintf(next, sizeof(next), "/%s", image);
        faulty_fail_flush(next, ERRNUMS[i]);
        group_finish_begin(group);
        member_must_await_flush(group);
        device_must_be_online(block);
        assert_int_equal((unsigned char)(i + 1), disk_read(block, "d0", 1));
        assert_int_equal(-ERRNUMS[i], device_flush(disk(block, "d0")));
        device_must_be_online(block);

        faulty_fail_flush(NULL, 0);
        assert_int_equal(0, device_flush(disk(block, "d0"))); /* which freezes it */
        assert_int_equal(group_finish_await(group, 1, UINT64_MAX), GROUP_FINISH_DONE);
        group_free(group);
        assert_int_equal(-EROFS, node_write(frozen, "x", 0, 1));
        assert_int_equal(-EBADF, file_write(frozen->fd, "x", 0, 1));
        assert_true(image_has(image, "qcow2", 1, (unsigned char)(i + 1)));
        snprintf(image, sizeof(image), "d0.%s", suffix);
    }
}

/* A group that was cut, and whose member waits for space. */
static struct group *group_cut_without_space(struct block *block)
{
    struct group *group = group_make(block, "a.qcow2");
    disk_write(block, "d0", 1, 7);
    group_must_cut(group);
    faulty_fail_flush("/d0.qcow2", ENOSPC);
    group_finish_begin(group);
    member_must_await_flush(group);
    return group;
}

/* The next group is refused as long as what is frozen already cannot be made durable. The group
 * tries again by itself once there is space. */
TEST(test_next_group)
{
    struct block *block = *state;
    struct err err;
    size_t failed_member;
    struct group *group = group_cut_without_space(block);
    assert_null(group_of(block, "b.qcow2", 1, NAMES, &failed_member, &err));
    assert_int_equal(ErrDeviceInUse, err.code);
    device_must_be_online(block);
    faulty_fail_flush(NULL, 0);
    assert_int_equal(group_finish_await(group, 1, UINT64_MAX), GROUP_FINISH_DONE);
    group_free(group);
    group_take(block, "b.qcow2", 1, NAMES);
    assert_true(image_has("d0.qcow2", "qcow2", 1, 7));
    assert_true(image_has("d0.a.qcow2", "qcow2", 9, 9));
}

/* The daemon ends while there is no space: the group does not keep it. */
TEST(test_stop)
{
    struct block *block = *state;
    struct group *group = group_cut_without_space(block);
    block_stop_opening(block);
    assert_int_equal(group_finish_await(group, 1, UINT64_MAX), GROUP_FINISH_STOPPED);
    group_free(group);
    faulty_fail_flush(NULL, 0);
}
