/* SPDX-License-Identifier: Apache-2.0
 *
 * A backing image may be shorter or longer than its overlay. Past a shorter image's end there are
 * zeros, even where the image below that one has data; of a longer one, only the start is seen.
 *
 *     base    | 1111111111111111111111111111111 |  2 MiB
 *     middle  | 11111112222 |                      700,416 bytes
 *     top     | 11111112222 000000000000000000000000000 |  3 MiB
 */
#include "tests/lib/testlib.h"

#include <string.h>

enum { BASE_BYTES = 2 << 20, MIDDLE_BYTES = 700416, TOP_BYTES = 3 << 20 };

static struct flat *chain_create(unsigned cluster_bytes)
{
    shell("rm -f base middle top");
    shell("qemu-img create -q -f raw base %d && qemu-io -f raw -c 'write -P 1 0 %d' base",
          BASE_BYTES, BASE_BYTES);
    shell("qemu-img create -q -f qcow2 -o cluster_size=%u -b base -F raw middle %d", cluster_bytes,
          MIDDLE_BYTES);
    shell("qemu-io -f qcow2 -c 'write -P 2 600000 100000' middle");
    shell("qemu-img create -q -f qcow2 -o cluster_size=%u -b middle -F qcow2 top %d", cluster_bytes,
          TOP_BYTES);
    struct flat *flat = flat_new(TOP_BYTES);
    memset(flat->bytes, 1, MIDDLE_BYTES);
    memset(flat->bytes + 600000, 2, 100000);
    return flat;
}

static void sizes_differ(unsigned cluster_bytes)
{
    CLEANUP(flat) struct flat *flat = chain_create(cluster_bytes);
    struct node *node = chain_must_open("top", "qcow2", false);
    assert_int_equal(node->size_bytes, TOP_BYTES);
    assert_int_equal(node->backing->size_bytes, MIDDLE_BYTES);
    assert_int_equal(node->backing->backing->size_bytes, BASE_BYTES);
    flat_must_match_node(flat, node, "top");
    CLEANUP(flat) struct flat *start = flat_copy(flat, MIDDLE_BYTES);
    flat_must_match_node(start, node->backing, "middle");

    /* Copy-on-write across the middle's end, then behind it, where only the base has data. */
    memset(flat->bytes + MIDDLE_BYTES - 3, 3, 6);
    assert_int_equal(node_write(node, "\3\3\3\3\3\3", MIDDLE_BYTES - 3, 6), 0);
    flat->bytes[BASE_BYTES - 70000] = 4;
    assert_int_equal(node_write(node, "\4", BASE_BYTES - 70000, 1), 0);
    memset(flat->bytes + 650000, 0, 800000);
    assert_int_equal(node_zero(node, 650000, 800000, true), 0);
    flat_must_match_node(flat, node, "top, written");
    node_must_close(&node);
    image_must_be_clean("top");
    flat_must_match_image(flat, "top", "qcow2");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(backing_sizes_differ)
{
    for (unsigned bits = 9; bits <= 21; bits += 2)
        sizes_differ(1U << bits);
}
