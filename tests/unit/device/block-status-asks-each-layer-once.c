/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding out where the data of a chain are costs what extents there are, not layers times length:
 * in a walk over 4 GiB through 90 images no frozen image is asked for more extents than it has, the
 * top once for each answer; and one question reads one slice of a table at most, so that it holds
 * an image's lock for no longer. So do the reads of 32 MiB that nobody has read before. What is
 * kept for it stays within its limit, and none of it is needed.
 *
 *     base       1 MiB in every 32 MiB
 *     image N    64 KiB at N times 37 MiB
 *
 * The spy is a driver that counts the questions to each image.
 */
#include "block/format/qcow2/state.h"
#include "block/image/drivers.h"
#include "tests/lib/disks.h"

#include <stdio.h>
#include <string.h>

enum { IMAGES = 90, PIECE_BYTES = 64 << 10, READ_BYTES = 32 << 20 };
#define SIZE_BYTES (4ULL << 30)
#define STEP_BYTES (32ULL << 20)

static struct driver spy;
static unsigned asked[IMAGES]; /* of which image, counted from the base */
static unsigned too_greedy;    /* questions that read more than one slice */

static unsigned image_number(const struct node *node)
{
    unsigned number = 0;
    assert_int_equal(1, sscanf(strrchr(node->path, '/') + 1, "%u.qcow2", &number));
    return number;
}

static int spy_map(struct node *node, uint64_t offset, unsigned flags, struct extent *extent)
{
    const struct qcow2 *q = node->state;
    size_t slices = q->cache.count;
    int ret = driver_qcow2.map(node, offset, flags, extent);
    asked[image_number(node)]++;
    too_greedy += q->cache.count > slices + 1;
    return ret;
}

static void piece_write(struct node *node, uint64_t offset, uint64_t length)
{
    CLEANUP_FREE char *bytes = malloc(length);
    memset(bytes, 7, length);
    assert_int_equal(0, node_write(node, bytes, offset, length));
}

static void chain_make(void)
{
    struct node *below = NULL;
    for (unsigned i = 0; i < IMAGES; i++) {
        char name[16], backing[16];
        snprintf(name, sizeof(name), "%u.qcow2", i);
        snprintf(backing, sizeof(backing), "%u.qcow2", i - 1);
        struct image_spec spec = {.size_bytes = SIZE_BYTES};
        if (i) {
            spec.backing_file = backing;
            spec.backing_format = "qcow2";
        }
        struct node *node = overlay_must_create(name, &spec, below);
        for (uint64_t at = 0; i == 0 && at < SIZE_BYTES; at += STEP_BYTES)
            piece_write(node, at, 1 << 20);
        if (i)
            piece_write(node, i * (37ULL << 20), PIECE_BYTES);
        assert_int_equal(0, node_freeze(node));
        if (below)
            node_unref(below);
        below = node;
    }
    node_unref(below);
}

static struct device *device_begin(struct block **block)
{
    struct err err = {.message = ""};
    const struct device_spec spec = {.name = "disk", .image = "89.qcow2", .format = "qcow2"};
    *block = block_open(scratch_dir(), &err);
    assert_non_null(*block);
    if (block_device_open(*block, &spec, &err) != 0)
        fail_msg("%s", err.message);
    block_device_export(*block, "disk");
    memset(asked, 0, sizeof(asked));
    too_greedy = 0;
    return disk(*block, "disk");
}

/* How many extents the image tells of [0, end), asked alone. */
static unsigned extents_of(struct node *node, uint64_t end)
{
    unsigned count = 0;
    for (uint64_t at = 0; at < end; count++) {
        struct extent extent = {.length = SIZE_BYTES - at};
        assert_int_equal(0, driver_qcow2.map(node, at, MAP_HOLES, &extent));
        at += extent.length;
    }
    return count;
}

static void expect_few_questions(struct device *device, uint64_t end)
{
    unsigned sum = 0;
    for (struct node *node = device->newest->backing; node; node = node->backing) {
        assert_in_range(asked[image_number(node)], 0, extents_of(node, end));
        sum += asked[image_number(node)];
    }
    print_message("%u questions to frozen images, %u to the top\n", sum, asked[IMAGES - 1]);
    assert_int_equal(too_greedy, 0);
}

/* Asks for all of the disk, each time for the rest of it. Returns the number of answers. */
static unsigned disk_map(struct device *device, uint64_t *data_bytes)
{
    unsigned answers = 0;
    *data_bytes = 0;
    for (uint64_t at = 0; at < SIZE_BYTES; answers++) {
        struct device_extent extent = {.length = SIZE_BYTES - at};
        assert_int_equal(0, device_map(device, at, &extent));
        *data_bytes += extent.is_zero ? 0 : extent.length;
        at += extent.length;
    }
    return answers;
}

static int begin(void **state)
{
    scratch_begin(state);
    chain_make();
    spy = driver_qcow2;
    spy.map = spy_map;
    driver_register(&spy);
    return 0;
}

static const struct fixture fixture = {.begin_all = begin, .end_all = scratch_end};

TEST(a_walk_asks_for_what_there_is)
{
    struct block *block;
    struct err err;
    struct device *device = device_begin(&block);
    uint64_t data_bytes, again_bytes, sum_bytes;
    unsigned answers = disk_map(device, &data_bytes);
    CLEANUP_FREE char *told = shell_output("qemu-img map --force-share --output=json 89.qcow2 |"
                                           " jq 'map(select(.data) | .length) | add'");
    assert_int_equal(data_bytes, strtoull(told, NULL, 10));
    assert_int_equal(asked[IMAGES - 1], answers);
    expect_few_questions(device, SIZE_BYTES);

    sum_bytes = atomic_load(&block->index_memory.walks.used_bytes);
    assert_in_range(sum_bytes, 1, 8 * (IMAGES + 100) * 32); /* a few words for each image */
    assert_int_equal(answers, disk_map(device, &again_bytes));
    assert_int_equal(data_bytes, again_bytes);
    assert_in_range(atomic_load(&block->index_memory.walks.used_bytes), 1, 2 * sum_bytes);
    assert_int_equal(0, block_close(block, &err));
}

/* What has changed since an older image is asked of the images above that one only. */
TEST(a_walk_since_an_image_asks_those_above)
{
    enum { OLDER = 79 };
    struct block *block;
    struct err err;
    struct device *device = device_begin(&block);
    const struct device_spec spec = {
        .name = "older", .image = "79.qcow2", .format = "qcow2", .read_only = true};
    assert_int_equal(0, block_device_open(block, &spec, &err));
    block_device_export(block, "older");
    unsigned answers = 0;
    uint64_t changed_bytes = 0;
    for (uint64_t at = 0; at < SIZE_BYTES; answers++) {
        struct device_difference found = {.length = SIZE_BYTES - at};
        assert_int_equal(0, device_map_since(device, disk(block, "older"), at, &found));
        changed_bytes += found.is_changed ? found.length : 0;
        at += found.length;
    }
    assert_int_equal(changed_bytes, (IMAGES - 1 - OLDER) * PIECE_BYTES);
    assert_int_equal(asked[IMAGES - 1], answers);
    expect_few_questions(device, SIZE_BYTES);
    for (unsigned i = 0; i <= OLDER; i++)
        assert_int_equal(asked[i], 0);
    assert_int_equal(0, block_close(block, &err));
}

TEST(reads_ask_for_what_there_is)
{
    struct block *block;
    struct err err;
    struct device *device = device_begin(&block);
    CLEANUP_FREE unsigned char *bytes = malloc(READ_BYTES);
    assert_int_equal(0, device_read(device, bytes, 0, READ_BYTES));
    assert_int_equal(bytes[0], 7);
    assert_true(bytes_are_zero(bytes + (1 << 20), READ_BYTES - (1 << 20)));
    expect_few_questions(device, READ_BYTES);
    assert_int_equal(0, block_close(block, &err));
}

TEST(without_memory_it_is_the_same)
{
    struct block *block;
    struct err err;
    struct device *device = device_begin(&block);
    uint64_t with_bytes, without_bytes;
    disk_map(device, &with_bytes);
    assert_int_equal(0, block_close(block, &err));
    device = device_begin(&block);
    block_set_index_memory(block, 0);
    disk_map(device, &without_bytes);
    assert_int_equal(with_bytes, without_bytes);
    assert_int_equal(0, atomic_load(&block->index_memory.walks.used_bytes));
    assert_int_equal(0, block_close(block, &err));
}
