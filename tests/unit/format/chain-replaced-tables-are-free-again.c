/* SPDX-License-Identifier: Apache-2.0
 *
 * An L2 table that a write replaces by a copy loses its last reference, is free from then on, and
 * may be reused for anything: that is no corruption. Such a table has one reference and no copied
 * flag, as QEMU leaves it if it is killed in the middle of a snapshot; QEMU continues to use such
 * an image.
 */
#include "tests/lib/testlib.h"

enum { SIZE = 16 << 20, CLUSTER = 4096 };

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(tables_are_free_again)
{
    shell("qemu-img create -q -f qcow2 -o cluster_size=4k image 16M");
    for (unsigned i = 0; i < 8; i++)
        shell("qemu-io -f qcow2 -c 'write -P 3 %uM 4k' image", 2 * i);
    uint64_t l1 = image_peek("image", 40, 8);
    for (uint64_t i = 0; i < 8; i++)
        image_poke("image", l1 + 8 * i, 8, image_peek("image", l1 + 8 * i, 8) & ~(1ULL << 63));
    struct flat *flat = image_truth("image", "qcow2");
    struct node *node = chain_must_open("image", "qcow2", false);
    struct random random = random_seeded(1);
    for (int round = 0; round < 300; round++) {
        uint64_t at = random_below(&random, SIZE / CLUSTER) * CLUSTER;
        random_fill(&random, flat->bytes + at, CLUSTER);
        assert_int_equal(node_write(node, flat->bytes + at, at, CLUSTER), 0);
        assert_int_equal(node_flush(node), 0);
    }
    flat_must_match_node(flat, node, "after 300 writes");
    node_must_close(&node);
    image_must_be_clean("image");
    flat_must_match_image(flat, "image", "qcow2");
    flat_free(flat);
}
