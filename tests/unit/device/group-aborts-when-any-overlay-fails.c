/* SPDX-License-Identifier: Apache-2.0
 *
 * A group whose overlay N cannot be created or opened is abandoned as a whole: the failing member
 * is named, the image directory is as before to the byte, no device noticed, and the same group
 * succeeds afterwards.
 */
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <errno.h>
#include <string.h>

static const char *const NAMES[] = {"d0", "d1", "d2"};

/* The group must fail to prepare, at this member for this reason; it is aborted and freed. */
static void prepare_must_fail(struct group *group, size_t position, enum err_code code, int errnum)
{
    struct err err;
    size_t failed_member;
    assert_int_equal(-1, group_prepare(group, &failed_member, &err));
    assert_int_equal(position, failed_member);
    assert_int_equal(code, err.code);
    assert_int_equal(errnum, err.errnum);
    assert_int_equal(0, group_abort(group, &err));
    group_free(group);
}

static void attempt_fails(struct block *block, size_t position, enum err_code code, int errnum)
{
    CLEANUP_FREE char *before = scratch_listing();
    struct err err;
    size_t failed_member;
    struct group *group = group_of(block, "g.qcow2", 3, NAMES, &failed_member, &err);
    assert_non_null(group);
    prepare_must_fail(group, position, code, errnum);
    CLEANUP_FREE char *after = scratch_listing();
    assert_string_equal(before, after);
}

static const char *const BASES[] = {"d0.qcow2", "d1.qcow2", "d2.qcow2"};
static const char *const OVERLAYS[] = {"d0.g.qcow2", "d1.g.qcow2", "d2.g.qcow2"};

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_create_fails)
{
    struct block *block = *state;
    for (unsigned char i = 0; i < 3; i++) {
        disk_write(block, "d1", 1, i);
        assert_int_equal(0, device_flush(disk(block, "d1")));
        faulty_fail_create(BASES[i], ENOSPC);
        attempt_fails(block, i, ErrOpenFileFailed, ENOSPC);
        assert_int_equal(i, disk_read(block, "d1", 1));
    }
    group_take(block, "g.qcow2", 3, NAMES);
}

TEST(test_open_fails)
{
    struct block *block = *state;
    for (size_t i = 0; i < 3; i++) {
        faulty_fail_open(OVERLAYS[i], EIO);
        attempt_fails(block, i, ErrOpenFileFailed, EIO);
    }
    group_take(block, "g.qcow2", 3, NAMES);
}

/* Overlays are created side by side, in any order. */
TEST(test_first_in_list_order_is_reported)
{
    struct block *block = *state;
    faulty_fail_open(OVERLAYS[0], EIO);
    faulty_fail_create(BASES[1], ENOSPC);
    attempt_fails(block, 0, ErrOpenFileFailed, EIO);
    faulty_fail_create(NULL, 0);
    faulty_fail_open(OVERLAYS[2], EIO);
    faulty_fail_create(BASES[1], ENOSPC);
    attempt_fails(block, 1, ErrOpenFileFailed, ENOSPC);
    faulty_fail_open(NULL, 0);
    group_take(block, "g.qcow2", 3, NAMES);
}

/* Somebody else takes the name of the last overlay between begin and prepare: theirs stays. */
TEST(test_name_is_taken_meanwhile)
{
    struct block *block = *state;
    struct err err;
    size_t failed_member;
    struct group *group = group_of(block, "g.qcow2", 3, NAMES, &failed_member, &err);
    assert_non_null(group);
    shell("echo theirs > d2.g.qcow2");
    CLEANUP_FREE char *before = scratch_listing();
    prepare_must_fail(group, 2, ErrOpenFileFailed, EEXIST);
    CLEANUP_FREE char *after = scratch_listing();
    assert_string_equal(before, after);
}
