/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the disk is full when a merge ends, the lower image stays writable, with what was pushed in
 * memory. The merge is closed all the same, and the next one of the image goes on with it.
 */
#include "block/merge.h"
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <errno.h>

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(the_next_merge_goes_on)
{
    struct err err = {.message = ""};
    struct block *block = *state;
    const struct device_spec spec = {.name = "a", .image = "a.img", .format = "qcow2"};
    shell("qemu-img create -q -f qcow2 lower.img 1M && "
          "qemu-img create -q -f qcow2 -F qcow2 -b lower.img upper.img && "
          "qemu-img create -q -f qcow2 -F qcow2 -b upper.img a.img && "
          "qemu-io -f qcow2 -c 'write -P 7 0 500k' upper.img");
    assert_int_equal(block_device_open(block, &spec, &err), 0); /* keeps the images open */
    struct merge *merge = images_merge_begin(block, "lower.img", "upper.img");
    assert_int_equal(merge_rest(merge, &err), 1);
    faulty_fail_flush("lower.img", ENOSPC);
    assert_int_equal(merge_flush(merge, &err), -1);
    assert_int_equal(err.errnum, ENOSPC);
    assert_int_equal(merge_end(merge, &err), -1);
    merge_close(merge);
    faulty_fail_flush(NULL, 0);
    images_merge(block, "lower.img", "upper.img");
    assert_int_equal(block_device_close(block, "a", &err), 0);
    image_must_be_clean("lower.img");
    shell("! qemu-io -f qcow2 -c 'read -P 7 0 500k' lower.img | grep failed");
}
