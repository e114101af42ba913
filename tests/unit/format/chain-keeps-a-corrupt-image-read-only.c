/* SPDX-License-Identifier: Apache-2.0
 *
 * The corrupt bit: the image is rejected for writing and served for reading. The bit is set when a
 * write meets a mapping that leads into the image's own metadata, and that metadata is not
 * overwritten.
 */
#include "tests/lib/testlib.h"

#include <string.h>

enum { FEATURES_OFFSET = 72, CORRUPT = 2, CLUSTER_BYTES = 4096 };

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(corrupt_image_is_read_only)
{
    struct random random = random_seeded(environment_number("CHAIN_SEED", 20121));
    shell("qemu-img create -q -f qcow2 -o cluster_size=4k image 2M");
    image_fill("image", 2 << 20, CLUSTER_BYTES, &random);
    CLEANUP(flat) struct flat *flat = image_truth("image", "qcow2");
    image_poke("image", FEATURES_OFFSET, 8, CORRUPT);
    chain_must_refuse("image", "qcow2", false, ErrInvalidBlockFormat, WORDS("corrupt"));
    struct node *node = chain_must_open("image", "qcow2", true);
    flat_must_match_node(flat, node, "corrupt");
    node_unref(node);
    assert_int_equal(image_peek("image", FEATURES_OFFSET, 8), CORRUPT);
    shell("rm image");
}

/* Guest cluster 0 is mapped, as if it were its own, onto the metadata at `target`. */
static void write_onto(uint64_t target, const char *what)
{
    unsigned char data[CLUSTER_BYTES];
    memset(data, 0xee, sizeof(data));
    uint64_t l2 = image_peek("image", image_peek("image", 40, 8), 8) & 0x00fffffffffffe00ULL;
    image_poke("image", l2, 8, target | 1ULL << 63);
    CLEANUP_FREE char *before = shell_output("tail -c +4097 image | sha256sum");
    struct node *node = chain_must_open("image", "qcow2", false);
    if (node_write(node, data, 0, sizeof(data)) == 0)
        fail_msg("a write onto the %s succeeds", what);
    node_flush(node);
    node_unref(node);
    if (!(image_peek("image", FEATURES_OFFSET, 8) & CORRUPT))
        fail_msg("a write onto the %s does not set the corrupt bit", what);
    CLEANUP_FREE char *after = shell_output("tail -c +4097 image | sha256sum");
    if (strcmp(before, after) != 0)
        fail_msg("a write onto the %s changed the image behind the header", what);
    assert_int_equal(image_peek("image", 0, 4), 0x514649fb);
    chain_must_refuse("image", "qcow2", false, ErrInvalidBlockFormat, WORDS("corrupt"));
}

TEST(write_onto_metadata_sets_the_bit)
{
    const char *names[] = {"header", "refcount table", "refcount block", "L1 table", "L2 table"};
    for (unsigned i = 0; i < 5; i++) {
        shell("qemu-img create -q -f qcow2 -o cluster_size=4k image 2M");
        shell("qemu-io -c 'write -P 1 0 64k' image");
        uint64_t table = image_peek("image", 48, 8), l1 = image_peek("image", 40, 8);
        const uint64_t targets[] = {0, table, image_peek("image", table, 8), l1,
                                    image_peek("image", l1, 8) & 0x00fffffffffffe00ULL};
        if (i) /* offset 0 in an L2 entry means unallocated, so the header cannot be its target */
            write_onto(targets[i], names[i]);
        shell("rm image");
    }
}
