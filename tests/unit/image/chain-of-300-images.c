/* SPDX-License-Identifier: Apache-2.0
 *
 * A chain of 300 images opens, reads right at any depth, takes writes, and closes. Image N holds
 * its own number in sector N alone, so every sector comes from another depth.
 */
#include "tests/lib/testlib.h"

#include <stdio.h>
#include <string.h>

enum { IMAGES = 300, DISK_BYTES = 1 << 20 };

static struct flat *chain_create(void)
{
    struct flat *flat = flat_new(DISK_BYTES);
    struct node *below = NULL;
    for (unsigned i = 0; i < IMAGES; i++) {
        char name[32], backing[32];
        snprintf(name, sizeof(name), "%u.qcow2", i);
        snprintf(backing, sizeof(backing), "%u.qcow2", i - 1);
        struct image_spec spec = {.size_bytes = DISK_BYTES, .cluster_bytes = 512};
        if (i) {
            spec.backing_file = backing;
            spec.backing_format = "qcow2";
        }
        struct node *node = overlay_must_create(name, &spec, below);
        uint64_t offset = (uint64_t)i * 512;
        memset(flat->bytes + offset, 1 + i % 255, 512);
        assert_int_equal(node_write(node, flat->bytes + offset, offset, 512), 0);
        assert_int_equal(node_freeze(node), 0);
        if (below)
            node_unref(below);
        below = node;
    }
    flat_must_match_node(flat, below, "as created");
    node_unref(below);
    return flat;
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(long_chain_works)
{
    CLEANUP(flat) struct flat *flat = chain_create();
    struct node *node = chain_must_open("299.qcow2", "qcow2", false);
    flat_must_match_node(flat, node, "opened by its headers");
    memset(flat->bytes + 1000, 0xaa, 100000);
    assert_int_equal(node_write(node, flat->bytes + 1000, 1000, 100000), 0);
    flat_must_match_node(flat, node, "written");
    node_must_close(&node);
    image_must_be_clean("299.qcow2");
    flat_must_match_image(flat, "299.qcow2", "qcow2");
}
