/* SPDX-License-Identifier: Apache-2.0
 *
 * What is told to have changed between two states of a disk is, for any two images of random trees:
 * every byte that differs, no range that no image above the common one says anything of, and zeros
 * only where the newer state has zeros. The trees are made and filled by QEMU: clusters of any
 * size, subclusters, compressed clusters, discards, sizes that shrink and grow, branches as
 * rollbacks and clones make them.
 *
 *     reference   bytes: qemu-img convert of each image
 *                 what an image says: qemu-img map, at depth 0; and all past its end
 *
 * CHAIN_SEED repeats a run, CHAIN_TREES scales it.
 */
#include "tests/lib/disks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#if TEST_SANITIZED
#define TREES_DEFAULT 3
#else
#define TREES_DEFAULT 10
#endif

enum { IMAGES = 6, NONE = -1, SECTORS_MAX = 4 << 20 >> 9 };

struct image {
    int parent;
    bool is_raw;
    struct flat *flat;
    bool says[SECTORS_MAX];
    struct device *device;
};

static struct image images[IMAGES];
static struct block *block;

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

static const char *image_name(int number)
{
    static char names[2][16]; /* of an image and its parent */
    static unsigned turn;
    char *name = names[turn++ % 2];
    snprintf(name, sizeof(names[0]), "i%d.%s", number, images[number].is_raw ? "raw" : "qcow2");
    return name;
}

/* ---- the tree ---- */

/* Asks QEMU which ranges are the image's own. */
static void image_ask_own(int number)
{
    struct image *image = &images[number];
    memset(image->says, image->is_raw, sizeof(image->says));
    if (image->is_raw)
        return;
    CLEANUP_FREE char *text =
        shell_output("qemu-img map --output=json -f qcow2 %s |"
                     " jq -r '.[] | select(.depth == 0 and .present) | \"\\(.start) \\(.length)\"'",
                     image_name(number));
    uint64_t start, length;
    int used;
    for (const char *at = text;
         sscanf(at, "%" SCNu64 " %" SCNu64 "\n%n", &start, &length, &used) == 2; at += used)
        memset(&image->says[start >> 9], true, length >> 9);
}

static void image_make(int number, struct random *random)
{
    struct image *image = &images[number];
    uint64_t size = random_between(random, 1 << 20, 4 << 20) & ~511ULL;
    if (image->parent != NONE && random_chance(random, 60))
        size = images[image->parent].flat->size_bytes;
    image->is_raw = number == 0 && random_chance(random, 40);
    if (image->is_raw) {
        struct flat *flat = flat_new(size);
        random_fill(random, flat->bytes + size / 4 / 4096 * 4096, size / 3);
        flat_save(flat, image_name(number));
        image->flat = flat;
    } else {
        struct image_options options =
            image_options_random(random, 4096ULL << random_below(random, 7));
        bool has_parent = image->parent != NONE;
        image_create(image_name(number), &options, size,
                     has_parent ? image_name(image->parent) : NULL,
                     has_parent && images[image->parent].is_raw ? "raw" : "qcow2");
        image_fill(image_name(number), size, options.cluster_bytes, random);
        image->flat = image_truth(image_name(number), "qcow2");
    }
    image_ask_own(number);
}

static void image_attach(int number)
{
    char name[16];
    struct err err = {.message = ""};
    snprintf(name, sizeof(name), "i%d", number);
    const struct device_spec spec = {.name = name,
                                     .image = image_name(number),
                                     .format = images[number].is_raw ? "raw" : "qcow2",
                                     .read_only = true};
    if (block_device_open(block, &spec, &err) != 0)
        fail_msg("%s", err.message);
    block_device_export(block, name);
    images[number].device = disk(block, name);
}

static void tree_make(struct random *random)
{
    for (int i = 0; i < IMAGES; i++) {
        images[i].parent = i - 1;
        if (i > 1 && random_chance(random, 40))
            images[i].parent = (int)random_below(random, (uint64_t)i);
        image_make(i, random);
        printf(" %d<-%d", images[i].parent, i);
    }
    printf("\n");
    struct err err;
    block = block_open(scratch_dir(), &err);
    assert_non_null(block);
    for (int i = 0; i < IMAGES; i++)
        image_attach(i);
}

static void tree_end(void)
{
    struct err err;
    assert_int_equal(0, block_close(block, &err));
    for (int i = 0; i < IMAGES; i++)
        flat_free(images[i].flat);
    shell("rm -f i*.raw i*.qcow2");
}

/* ---- what must be told ---- */

static bool is_under(int base, int number)
{
    while (number != NONE && number != base)
        number = images[number].parent;
    return number == base;
}

/* The last image that both have, or NONE. */
static int common_of(int number, int other)
{
    while (number != NONE && !is_under(number, other))
        number = images[number].parent;
    return number;
}

/* Adds what the images from `number` down to `floor` say. */
static void add_said(bool *said, int number, int floor)
{
    for (; number != floor; number = images[number].parent) {
        uint64_t end = images[number].flat->size_bytes >> 9;
        for (uint64_t i = 0; i < SECTORS_MAX; i++)
            said[i] |= i >= end || images[number].says[i];
    }
}

static void expect_extent(int newer, const struct flat *old, const bool *said, uint64_t offset,
                          const struct device_difference *found)
{
    const struct flat *flat = images[newer].flat;
    for (uint64_t at = offset; at < offset + found->length; at += 512)
        if (said[at >> 9] != found->is_changed)
            fail_msg("%" PRIu64 " is %s", at, found->is_changed ? "told in vain" : "not told");
    if (found->is_zero && !bytes_are_zero(flat->bytes + offset, found->length))
        fail_msg("%" PRIu64 " is told to be zeros, is not", offset);
    if (old && !found->is_changed)
        assert_memory_equal(flat->bytes + offset, old->bytes + offset, found->length);
}

/* `older` NONE: what is told of the newer alone. */
static void expect_differences(int newer, int older)
{
    const struct flat *flat = images[newer].flat, *old = NULL;
    int common = NONE;
    bool said[SECTORS_MAX] = {false};
    if (older != NONE) {
        old = images[older].flat;
        common = common_of(newer, older);
        add_said(said, older, common);
        memset(&said[old->size_bytes >> 9], true, SECTORS_MAX - (old->size_bytes >> 9));
    }
    add_said(said, newer, common);
    struct device *since = older == NONE ? NULL : images[older].device;
    uint64_t unit = device_granularity_since(images[newer].device, since);
    assert_in_range(unit, 512, 2 << 20);
    for (uint64_t at = 0; at < flat->size_bytes;) {
        struct device_difference found = {.length = flat->size_bytes - at};
        assert_int_equal(0, device_map_since(images[newer].device, since, at, &found));
        assert_in_range(found.length, 1, flat->size_bytes - at);
        expect_extent(newer, old, said, at, &found);
        at += found.length;
    }
}

TEST(all_pairs_of_random_trees)
{
    uint64_t seed = environment_number("CHAIN_SEED", 20126);
    uint64_t trees = environment_number("CHAIN_TREES", TREES_DEFAULT);
    printf("CHAIN_SEED=%" PRIu64 " CHAIN_TREES=%" PRIu64 "\n", seed, trees);
    for (uint64_t tree = 0; tree < trees; tree++) {
        struct random random = random_seeded(seed + tree);
        printf("tree %" PRIu64 ":", tree);
        tree_make(&random);
        for (int newer = 0; newer < IMAGES; newer++)
            for (int older = NONE; older < IMAGES; older++)
                expect_differences(newer, older);
        tree_end();
    }
}

/* ---- which images are common ---- */

static void open_as(const char *name, const char *path)
{
    struct err err = {.message = ""};
    const struct device_spec spec = {
        .name = name, .image = path, .format = "qcow2", .read_only = true};
    if (block_device_open(block, &spec, &err) != 0)
        fail_msg("%s", err.message);
    block_device_export(block, name);
}

TEST(an_image_of_two_names_is_one)
{
    struct err err;
    shell("mkdir -p linked && qemu-img create -q -f qcow2 base.qcow2 1M &&"
          " qemu-img create -q -f qcow2 -b $PWD/base.qcow2 -F qcow2 middle.qcow2 &&"
          " qemu-img create -q -f qcow2 -b $PWD/middle.qcow2 -F qcow2 top.qcow2 &&"
          " qemu-io -f qcow2 -c 'write -q 64k 64k' middle.qcow2 &&"
          " qemu-io -f qcow2 -c 'write -q 256k 64k' top.qcow2 &&"
          " ln -sf ../middle.qcow2 linked/middle.qcow2 && qemu-img create -q -f qcow2 other.qcow2 "
          "1M");
    block = block_open(scratch_dir(), &err);
    assert_non_null(block);
    open_as("top", "top.qcow2");
    open_as("middle", "linked/middle.qcow2");
    open_as("other", "other.qcow2");
    assert_ptr_not_equal(disk(block, "top")->newest->backing, disk(block, "middle")->newest);
    struct device_difference found = {.length = 1 << 20};
    assert_int_equal(0, device_map_since(disk(block, "top"), disk(block, "middle"), 0, &found));
    assert_false(found.is_changed);
    assert_int_equal(256 << 10, found.length);

    assert_int_equal(-ENXIO, device_map_since(disk(block, "top"), disk(block, "other"), 0, &found));
    assert_int_equal(0, device_granularity_since(disk(block, "top"), disk(block, "other")));
    assert_int_equal(-EINVAL, device_map_since(disk(block, "top"), NULL, 1 << 20, &found));
    assert_int_equal(0, block_close(block, &err));
}
