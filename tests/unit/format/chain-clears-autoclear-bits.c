/* SPDX-License-Identifier: Apache-2.0
 *
 * Autoclear features belong to data that a writer must keep up to date. The driver keeps none, so
 * opening for writing clears the bits, known (bitmaps) and unknown; opening for reading keeps them.
 */
#include "tests/lib/testlib.h"

enum { AUTOCLEAR_OFFSET = 88, BITMAPS_TYPE = 0x23852875, CHECK_CLEAN = 0, CHECK_LEAKS = 3 };

static void must_be_cleared_by_writing(uint64_t bits)
{
    assert_true(image_peek("image", AUTOCLEAR_OFFSET, 8) == bits);
    struct node *node = chain_must_open("image", "qcow2", true);
    node_unref(node);
    assert_true(image_peek("image", AUTOCLEAR_OFFSET, 8) == bits);
    node = chain_must_open("image", "qcow2", false);
    assert_int_equal(node_write(node, "x", 100000, 1), 0);
    node_must_close(&node);
    assert_true(image_peek("image", AUTOCLEAR_OFFSET, 8) == 0);
    int status = shell_status("qemu-img check image");
    assert_true(status == CHECK_CLEAN || status == CHECK_LEAKS);
    shell("qemu-io -r -c 'read -P 1 0 64k' -c 'read -P 0x78 100000 1' image");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(bitmaps_are_invalidated)
{
    uint32_t length;
    shell("qemu-img create -q -f qcow2 image 1M && qemu-img bitmap --add image changed");
    shell("qemu-io -c 'write -P 1 0 64k' image");
    assert_true(image_extension("image", BITMAPS_TYPE, &length) != 0);
    must_be_cleared_by_writing(1);
    shell("rm image");
}

TEST(unknown_bits_are_cleared)
{
    shell("qemu-img create -q -f qcow2 image 1M && qemu-io -c 'write -P 1 0 64k' image");
    image_poke("image", AUTOCLEAR_OFFSET, 8, 1ULL << 63 | 1 << 17);
    must_be_cleared_by_writing(1ULL << 63 | 1 << 17);
    shell("rm image");
}
