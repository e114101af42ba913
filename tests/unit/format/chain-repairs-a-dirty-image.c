/* SPDX-License-Identifier: Apache-2.0
 *
 * The dirty bit: refcounts may be wrong. Opening for writing repairs them and clears the bit before
 * anything is allocated; opening for reading changes nothing.
 *
 * QEMU itself sets the bit and does the damage (lazy refcounts, ended by a signal); zeros or noise
 * over refcount blocks do more of it, at every refcount width.
 */
#include "tests/lib/testlib.h"

#include <stdio.h>

enum { DIRTY_OFFSET = 72, CHECK_CLEAN = 0, CHECK_LEAKS = 3 };

static void must_be_repaired(const char *what)
{
    CLEANUP(flat) struct flat *flat = flat_load("truth");
    CLEANUP_FREE char *before = shell_output("sha256sum <image");
    struct node *node = chain_must_open("image", "qcow2", true);
    flat_must_match_node(flat, node, what);
    node_unref(node);
    CLEANUP_FREE char *after = shell_output("sha256sum <image");
    assert_string_equal(before, after);

    node = chain_must_open("image", "qcow2", false);
    assert_int_equal(image_peek("image", DIRTY_OFFSET, 8) & 1, 0);
    CLEANUP_FREE struct exercise *exercise = calloc(1, sizeof(*exercise));
    assert_non_null(exercise);
    *exercise = (struct exercise){.node = node, .flat = flat, .what = what};
    exercise->cluster_bytes = 1ULL << image_peek("image", 20, 4);
    for (int i = 0; i < 100; i++)
        exercise_step(exercise);
    node_must_close(&node);
    int status = shell_status("qemu-img check image");
    if (status != CHECK_CLEAN && status != CHECK_LEAKS)
        fail_msg("%s: qemu-img check ended with %d", what, status);
    flat_must_match_image(flat, "image", "qcow2");
    shell("rm image truth");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(lazy_refcounts_cut_short)
{
    shell("qemu-img create -q -f qcow2 -o lazy_refcounts=on,cluster_size=4k image 4M");
    shell_status("qemu-io -c 'write -P 1 0 1M' -c 'write -P 2 2M 300k' -c flush -c abort image");
    assert_int_equal(image_peek("image", DIRTY_OFFSET, 8) & 1, 1);
    assert_int_not_equal(shell_status("qemu-img check image"), 0);
    shell("qemu-img convert -O raw image truth");
    must_be_repaired("lazy refcounts");
}

TEST(refcount_blocks_overwritten)
{
    struct random random = random_seeded(environment_number("CHAIN_SEED", 20121));
    const char *options[] = {"", ",compression_type=zstd", ",extended_l2=on,cluster_size=16k"};
    for (unsigned i = 0; i < 21; i++) {
        unsigned bits = 1U << i % 7;
        shell("qemu-img create -q -f qcow2 -o cluster_size=1k,refcount_bits=%u%s image 2M", bits,
              options[i / 7]);
        uint64_t cluster_bytes = 1ULL << image_peek("image", 20, 4);
        image_fill("image", 2 << 20, cluster_bytes, &random);
        if (image_snapshot("image", "one"))
            shell("qemu-io -c 'write -P 9 64k 99k' image");
        shell("qemu-img convert -O raw image truth");
        uint64_t table = image_peek("image", 48, 8), block = image_peek("image", table, 8);
        for (unsigned j = 0; j < 40; j++)
            image_poke("image", block + random_below(&random, cluster_bytes / 8), 1,
                       i % 2 ? 0 : random_next(&random));
        image_poke("image", DIRTY_OFFSET, 8, image_peek("image", DIRTY_OFFSET, 8) | 1);
        char what[100];
        snprintf(what, sizeof(what), "refcount_bits=%u%s", bits, options[i / 7]);
        must_be_repaired(what);
    }
}

TEST(refcount_table_overwritten)
{
    struct random random = random_seeded(environment_number("CHAIN_SEED", 20121));
    shell("qemu-img create -q -f qcow2 -o cluster_size=512 image 1M");
    image_fill("image", 1 << 20, 512, &random);
    shell("qemu-img convert -O raw image truth");
    uint64_t table = image_peek("image", 48, 8);
    image_poke("image", table + 8, 8, 0);
    image_poke("image", DIRTY_OFFSET, 8, 1);
    must_be_repaired("refcount table");
}
