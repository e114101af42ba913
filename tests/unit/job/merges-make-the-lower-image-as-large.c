/* SPDX-License-Identifier: Apache-2.0
 *
 * A device that was resized has layers of several sizes. A push makes the lower image as large as
 * the upper one; the device reads as before all the time, and QEMU finds the new size and no error.
 * An image beneath which a larger one would appear is left alone, as is a larger one.
 */
#include "block/merge.h"
#include "tests/lib/disks.h"

#include <stdio.h>
#include <string.h>

enum { OLD_BYTES = (1 << 20) - 3 * 512, NEW_BYTES = 5 << 20 };

static struct merge *open_merge(struct block *block, const char *format, struct err *err)
{
    CLEANUP_FREE char *lower = scratch_path("lower.img"), *upper = scratch_path("upper.img");
    const struct merge_image base = {lower, format, NULL}, top = {upper, "qcow2", NULL};
    return merge_open(block, &base, &top, err);
}

static void device_must_have(struct block *block, const struct flat *flat)
{
    CLEANUP_FREE unsigned char *bytes = malloc(flat->size_bytes);
    assert_int_equal(device_read(disk(block, "a"), bytes, 0, flat->size_bytes), 0);
    uint64_t good = bytes_first_difference(bytes, flat->bytes, flat->size_bytes);
    assert_int_equal(good, flat->size_bytes);
}

static void push(struct block *block, struct merge *merge, const struct flat *flat)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *a = scratch_path("a.img");
    const struct merge_image child = {a, "qcow2", NULL};
    uint64_t offset = 0, copied;
    int ret;
    if (merge_begin(merge, &err) != 0)
        fail_msg("%s", err.message);
    device_must_have(block, flat);
    while ((ret = merge_copy(merge, &offset, &copied, &err)) == 0)
        device_must_have(block, flat);
    assert_int_equal(ret, 1);
    assert_int_equal(merge_flush(merge, &err), 0);
    assert_int_equal(merge_rename(merge, &child, &err), 0);
    assert_int_equal(merge_redirect(merge, &err), 0);
    device_must_have(block, flat);
    assert_int_equal(merge_end(merge, &err), 0);
    merge_close(merge);
}

static void merge_formats(struct block *block, const char *format, const char *options)
{
    struct err err = {.message = ""};
    struct merge_size size;
    const struct device_spec spec = {.name = "a", .image = "a.img", .format = "qcow2"};
    shell("rm -f *.img; qemu-img create -q -f %s %s lower.img %d && "
          "qemu-io -f %s -c 'write -P 7 300k 500k' lower.img && "
          "qemu-img create -q -f qcow2 -F %s -b lower.img upper.img %d && "
          "qemu-io -f qcow2 -c 'write -P 8 700k 2M' -c 'write -zu 350k 100k' upper.img && "
          "qemu-img create -q -f qcow2 -F qcow2 -b upper.img a.img && "
          "qemu-io -f qcow2 -c 'write -P 9 4M 64k' a.img",
          format, options, OLD_BYTES, format, format, NEW_BYTES);
    CLEANUP(flat) struct flat *flat = image_truth("a.img", "qcow2");
    if (block_device_open(block, &spec, &err) != 0)
        fail_msg("%s", err.message);
    struct merge *merge = open_merge(block, format, &err);
    if (!merge || merge_measure(merge, &size, &err) != 0)
        fail_msg("%s", err.message);
    push(block, merge, flat);
    assert_int_equal(block_device_close(block, "a", &err), 0);
    shell("rm upper.img; qemu-img info lower.img | grep -q '(%d bytes)'", NEW_BYTES);
    flat_must_match_image(flat, "a.img", "qcow2");
    if (strcmp(format, "raw") != 0)
        image_must_be_clean("lower.img");
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(layers_of_a_resized_device_are_merged)
{
    merge_formats(*state, "qcow2", "-o cluster_size=512");
    merge_formats(*state, "qcow2", "-o cluster_size=64k,extended_l2=on");
    merge_formats(*state, "raw", "");
}

TEST(what_cannot_become_as_large_is_left_alone)
{
    struct err err = {.message = ""};
    shell("qemu-img create -q -f raw base.img 2M && "
          "qemu-img create -q -f qcow2 -F raw -b base.img lower.img 1M && "
          "qemu-img create -q -f qcow2 -F qcow2 -b lower.img upper.img 2M");
    assert_null(open_merge(*state, "qcow2", &err));
    assert_int_equal(err.code, ErrInvalidValue);
    shell("rm upper.img; qemu-img create -q -f qcow2 -F qcow2 -b lower.img upper.img 512k");
    assert_null(open_merge(*state, "qcow2", &err));
    assert_int_equal(err.code, ErrInvalidValue);
}
