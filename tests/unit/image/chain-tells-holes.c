/* SPDX-License-Identifier: Apache-2.0
 *
 * A driver's map() says what a range is: data, zeros, or the backing image's.
 * What QEMU put into each place decides what must be said (of raw: what the file system calls a
 * hole).
 */
#include "tests/lib/testlib.h"

#include <string.h>
#include <unistd.h>

/* Expects the whole range to be of one kind, in however many pieces. */
static void must_be(struct node *node, uint64_t offset, uint64_t length, enum extent_kind expected)
{
    while (length) {
        struct extent extent = {.kind = (enum extent_kind)99, .length = length};
        assert_int_equal(node->driver->map(node, offset, MAP_HOLES, &extent), 0);
        assert_in_range(extent.length, 1, length);
        if (extent.kind != expected)
            fail_msg("%s: offset %llu is of kind %d, not %d", node->path,
                     (unsigned long long)offset, extent.kind, expected);
        offset += extent.length;
        length -= extent.length;
    }
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(raw_holes)
{
    shell("truncate -s 4M sparse && qemu-io -f raw -c 'write -P 1 1M 1M' sparse");
    struct node *node = chain_must_open("sparse", "raw", false);
    must_be(node, 0, 1 << 20, EXTENT_ZERO);
    must_be(node, 1 << 20, 1 << 20, EXTENT_DATA);
    must_be(node, 2 << 20, 2 << 20, EXTENT_ZERO);
    uint64_t before = 0, after = 0;
    before = node_allocated_bytes(node, true);
    assert_int_equal(node_zero(node, 1 << 20, 512 << 10, true), 0);
    assert_int_equal(node_discard(node, 1536 << 10, 512 << 10), 0);
    must_be(node, 0, 4 << 20, EXTENT_ZERO);
    after = node_allocated_bytes(node, true);
    assert_in_range(after, 0, before - (1 << 20));
    node_must_close(&node);
    shell("test $(stat -c %%s sparse) = 4194304");
}

TEST(qcow2_kinds)
{
    const uint64_t k = 1024;
    shell("qemu-img create -q -f raw base 1M");
    shell("qemu-img create -q -f qcow2 -o cluster_size=4k -b base -F raw image 1M");
    shell("qemu-io -f qcow2 -c 'write 64k 64k' -c 'write -z 128k 64k' -c 'write -zu 256k 64k' "
          "-c 'write -c 320k 4k' image");
    struct node *node = chain_must_open("image", "qcow2", false);
    must_be(node, 0, 64 * k, EXTENT_BACKING);
    must_be(node, 64 * k, 64 * k, EXTENT_DATA);
    must_be(node, 128 * k, 64 * k, EXTENT_ZERO);
    must_be(node, 192 * k, 64 * k, EXTENT_BACKING);
    must_be(node, 256 * k, 64 * k, EXTENT_ZERO);
    must_be(node, 320 * k, 4 * k, EXTENT_DATA);
    must_be(node, 324 * k, 700 * k, EXTENT_BACKING);
    assert_int_equal(node_zero(node, 0, 128 * k, true), 0);
    must_be(node, 0, 192 * k, EXTENT_ZERO);
    node_must_close(&node);
    image_must_be_clean("image");
}

TEST(subcluster_kinds)
{
    const uint64_t k = 1024;
    shell("qemu-img create -q -f qcow2 -o extended_l2=on -b base -F raw extended 1M");
    shell("qemu-io -f qcow2 -c 'write 64k 2k' -c 'write -z 70k 4k' extended");
    struct node *node = chain_must_open("extended", "qcow2", false);
    must_be(node, 64 * k, 2 * k, EXTENT_DATA);
    must_be(node, 66 * k, 4 * k, EXTENT_BACKING);
    must_be(node, 70 * k, 4 * k, EXTENT_ZERO);
    must_be(node, 74 * k, 900 * k, EXTENT_BACKING);
    assert_int_equal(node_write(node, "x", 100 * k + 1, 1), 0);
    must_be(node, 98 * k, 2 * k, EXTENT_BACKING); /* nothing but one subcluster was copied */
    must_be(node, 100 * k, 2 * k, EXTENT_DATA);
    must_be(node, 102 * k, 4 * k, EXTENT_BACKING);
    node_must_close(&node);
    image_must_be_clean("extended");
}

TEST(discarded_space_is_given_back)
{
    shell("qemu-img create -q -f qcow2 space 16M && qemu-io -c 'write 0 16M' space");
    struct node *node = chain_must_open("space", "qcow2", false);
    uint64_t before = 0, after = 0;
    before = node_allocated_bytes(node, true);
    assert_int_equal(node_discard(node, 0, 8 << 20), 0);
    assert_int_equal(node_zero(node, 8 << 20, 4 << 20, true), 0);
    assert_int_equal(node_flush(node), 0);
    CLEANUP_FREE char *buf = malloc(12 << 20);
    memset(buf, 5, 12 << 20);
    assert_int_equal(node_write(node, buf, 0, 12 << 20), 0);
    assert_int_equal(node_flush(node), 0);
    after = node_allocated_bytes(node, true);
    assert_in_range(after, 0, before + (1 << 20)); /* freed clusters were used again */
    node_must_close(&node);
    image_must_be_clean("space");
}
