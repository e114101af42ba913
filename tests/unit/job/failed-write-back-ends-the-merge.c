/* SPDX-License-Identifier: Apache-2.0
 *
 * A push waits for write-back while it goes on. The kernel reports an error of write-back to who
 * waits first, and not again to fdatasync: so that error ends the push as a failed sync does, and
 * the image is not written again. sync_file_range of the code under test comes by here.
 */
#include "block/merge.h"
#include "tests/lib/disks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

enum { SIZE_MIB = 64 };

static int wait_error; /* what waiting fails with; 0: it does not */

int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags)
{
    (void)fd, (void)offset, (void)length;
    errno = wait_error;
    return flags & SYNC_FILE_RANGE_WAIT_BEFORE && wait_error ? -1 : 0;
}

static void images_create(void)
{
    shell("qemu-img create -q -f qcow2 lower.img %dM && "
          "qemu-img create -q -f qcow2 -F qcow2 -b lower.img upper.img && "
          "qemu-io -f qcow2 -c 'write -P 7 0 %dM' upper.img",
          SIZE_MIB, SIZE_MIB);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(an_error_of_write_back_is_not_forgotten)
{
    struct err err = {.message = ""};
    images_create();
    struct merge *merge = images_merge_begin(*state, "lower.img", "upper.img");
    wait_error = EIO;
    assert_int_equal(merge_rest(merge, &err), -1);
    assert_int_equal(err.code, ErrUnflushedData);
    wait_error = 0;
    assert_int_equal(merge_flush(merge, &err), -1);
    assert_int_equal(err.code, ErrUnflushedData);
    assert_int_equal(merge_end(merge, &err), -1);
    merge_close(merge);
}

TEST(a_file_system_without_it_is_no_error)
{
    struct err err = {.message = ""};
    images_create();
    struct merge *merge = images_merge_begin(*state, "lower.img", "upper.img");
    wait_error = EOPNOTSUPP;
    assert_int_equal(merge_rest(merge, &err), 1);
    wait_error = 0;
    assert_int_equal(merge_flush(merge, &err), 0);
    assert_int_equal(merge_end(merge, &err), 0);
    merge_close(merge);
}
