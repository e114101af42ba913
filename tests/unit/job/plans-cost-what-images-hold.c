/* SPDX-License-Identifier: Apache-2.0
 *
 * What is to be merged or copied is found at the cost of what the images hold, not of the size of
 * their disk: of a disk of 8 PiB with data in two places, no more look-ups than there are slices in
 * the tables of these, and a few for the rest.
 */
#include "tests/lib/disks.h"

#include "block/copy.h"
#include "block/device/exports.h"
#include "block/frozen.h"
#include "block/image/drivers.h"
#include "block/merge.h"

enum {
    /* Of a table of 2 MiB, 512 slices; by 1 GiB there would be eight million look-ups. */
    LOOKUPS = 2 * 512 + 150,
    PIECE_BYTES = 1 << 16,
};

static struct driver counting;
static unsigned lookups;

static int counting_map(struct node *node, uint64_t offset, unsigned flags, struct extent *extent)
{
    lookups++;
    return driver_qcow2.map(node, offset, flags, extent);
}

static int begin(void **state)
{
    counting = driver_qcow2;
    counting.map = counting_map;
    int ret = disks_begin(state);
    driver_register(&counting);
    return ret;
}

static const struct fixture fixture = {.begin = begin, .end = disks_end};

static void images_create(void)
{
    shell(
        "qemu-img create -q -f qcow2 -o cluster_size=2M,extended_l2=on lower.img 8P && "
        "for i in upper a; do qemu-img create -q -f qcow2 -o cluster_size=2M,extended_l2=on "
        "-b lower.img -F qcow2 $i.img; done && qemu-img rebase -q -u -b upper.img -F qcow2 a.img &&"
        "qemu-io -f qcow2 -c 'write -q -P 7 1P 64k' -c 'write -q -P 8 6P 64k' upper.img");
}

static struct merge *merge_must_open(struct block *block)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *lower = scratch_path("lower.img"), *upper = scratch_path("upper.img");
    const struct merge_image base = {lower, "qcow2", NULL}, top = {upper, "qcow2", NULL};
    struct merge *merge = merge_open(block, &base, &top, &err);
    if (!merge)
        fail_msg("%s", err.message);
    return merge;
}

static void lookups_must_be_few(const char *what)
{
    if (lookups > LOOKUPS)
        fail_msg("%u look-ups to %s", lookups, what);
    lookups = 0;
}

static void member_is_measured(struct block *block)
{
    struct err err = {.message = ""};
    uint64_t bytes;
    CLEANUP_FREE char *upper = scratch_path("upper.img");
    assert_int_equal(block_frozen_add(block, "a", "g", "id", upper, NULL, "qcow2", NULL, &err), 0);
    CLEANUP(copy) struct copy *copy = copy_open(block, "a@g", &err);
    if (!copy)
        fail_msg("%s", err.message);
    lookups = 0;
    assert_int_equal(copy_measure(copy, &bytes, &err), 0);
    assert_int_equal(bytes, 2 * PIECE_BYTES);
    lookups_must_be_few("measure a copy");
}

TEST(a_disk_of_8_pib_is_measured_and_pushed_by_what_it_holds)
{
    struct err err = {.message = ""};
    struct merge_size size;
    images_create();
    disk_attach(*state, "a", "a.img");
    member_is_measured(*state);
    struct merge *merge = merge_must_open(*state);
    assert_int_equal(merge_measure(merge, &size, &err), 0);
    assert_int_equal(size.copy_bytes, 2 * PIECE_BYTES);
    lookups_must_be_few("measure a merge");
    assert_int_equal(merge_begin(merge, &err), 0);
    assert_int_equal(merge_rest(merge, &err), 1);
    lookups_must_be_few("push");
    assert_int_equal(merge_flush(merge, &err), 0);
    assert_int_equal(merge_end(merge, &err), 0);
    merge_close(merge);
    disk_detach(*state, "a");
    shell("qemu-io -r -f qcow2 -c 'read -q -P 7 1P 64k' -c 'read -q -P 8 6P 64k' lower.img");
}
