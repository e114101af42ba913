/* SPDX-License-Identifier: Apache-2.0
 *
 * What a push has read is written in another thread. If that fails, the next piece fails or the
 * flush does, whichever comes first, and so does everything after; nothing that was not written
 * counts as pushed. The push that is begun anew writes all of it. pwrite() of the code under test
 * comes by here.
 */
#include "block/merge.h"
#include "tests/lib/disks.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SIZE_MIB = 6, DATA_BYTES = 64 << 10 };

static atomic_int writes_left = -1; /* of data, before one fails; below 0: none does */

ssize_t pwrite(int fd, const void *buf, size_t length, off_t offset)
{
    if (length >= DATA_BYTES && atomic_load(&writes_left) >= 0 &&
        atomic_fetch_sub(&writes_left, 1) == 0) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, buf, length, offset);
}

static void push_fails(struct block *block)
{
    uint64_t offset = 0, copied;
    struct err err = {.message = ""};
    struct merge *merge = images_merge_begin(block, "lower.img", "upper.img");
    if (merge_rest(merge, &err) == 1)
        assert_int_equal(merge_flush(merge, &err), -1);
    assert_int_equal(err.errnum, EIO);
    while (merge_copy(merge, &offset, &copied, &err) == 0)
        ; /* it has room for some of it, which is not written */
    assert_int_equal(merge_flush(merge, &err), -1);
    assert_int_equal(err.errnum, EIO);
    assert_int_equal(merge_end(merge, &err), 0);
    merge_close(merge);
}

static void push_succeeds(struct block *block)
{
    images_merge(block, "lower.img", "upper.img");
    image_must_be_clean("lower.img");
    shell("! qemu-io -f qcow2 -c 'read -P 7 0 %dM' lower.img | grep failed", SIZE_MIB);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(whichever_of_them_fails)
{
    for (int failing = 0; failing < SIZE_MIB; failing++) {
        shell("rm -f lower.img upper.img; qemu-img create -q -f qcow2 lower.img %dM && "
              "qemu-img create -q -f qcow2 -F qcow2 -b lower.img upper.img && "
              "qemu-io -f qcow2 -c 'write -P 7 0 %dM' upper.img",
              SIZE_MIB, SIZE_MIB);
        atomic_store(&writes_left, failing);
        push_fails(*state);
        assert_true(atomic_load(&writes_left) < 0);
        push_succeeds(*state);
    }
}
