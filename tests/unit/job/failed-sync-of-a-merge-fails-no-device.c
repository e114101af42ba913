/* SPDX-License-Identifier: Apache-2.0
 *
 * When the image into which a job merges cannot be synced, the job fails and the image is not
 * written again. Devices and exports that stand right on it go on, whatever they are asked: what
 * their clients wrote was durable before the job began.
 */
#include "block/device/exports.h"
#include "block/frozen.h"
#include "block/merge.h"
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <errno.h>

static const char *const NAMES[] = {"d0"};

static void must(int ret, const struct err *err)
{
    if (ret != 0)
        fail_msg("%s", err->message);
}

/* d0.qcow2 <- d0.1.qcow2 <- d0.2.qcow2, the top of d0; all of the second is pushed. */
static struct merge *must_push(struct block *block)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *lower = scratch_path("d0.qcow2"), *upper = scratch_path("d0.1.qcow2");
    const struct merge_image base = {lower, "qcow2", NULL}, top = {upper, "qcow2", NULL};
    uint64_t offset = 0, copied;
    disk_write(block, "d0", 0, 1);
    group_take(block, "1.qcow2", 1, NAMES);
    disk_write(block, "d0", 1, 2);
    group_take(block, "2.qcow2", 1, NAMES);
    struct merge *merge = merge_open(block, &base, &top, &err);
    if (!merge)
        fail_msg("%s", err.message);
    must(merge_begin(merge, &err), &err);
    int ret;
    while ((ret = merge_copy(merge, &offset, &copied, &err)) == 0)
        continue;
    assert_int_equal(ret, 1);
    return merge;
}

/* The upper image's export, which stands right on the lower one. */
static struct device *must_export(struct block *block)
{
    struct err err = {.message = ""};
    CLEANUP_FREE char *upper = scratch_path("d0.1.qcow2");
    must(block_frozen_add(block, "d0", "g", "id", upper, NULL, "qcow2", NULL, &err), &err);
    struct device *export = export_use(block, "d0@g", NULL, &err);
    if (!export)
        fail_msg("%s", err.message);
    return export;
}

static void export_must_go_on(struct device *export)
{
    unsigned char byte = 0;
    assert_int_equal(device_read(export, &byte, 4096, 1), 0);
    assert_int_equal(byte, 2);
    assert_int_equal(device_flush(export), 0);
    assert_false(device_has_failed(export));
}

static void must_go_on(struct block *block)
{
    assert_int_equal(1, disk_read(block, "d0", 0));
    assert_int_equal(2, disk_read(block, "d0", 1));
    disk_write(block, "d0", 2, 3);
    assert_int_equal(0, device_flush(disk(block, "d0")));
    assert_false(device_has_failed(disk(block, "d0")));
    group_take(block, "3.qcow2", 1, NAMES);
    assert_int_equal(3, disk_read(block, "d0", 2));
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(the_push_cannot_be_synced)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    struct merge *merge = must_push(block);
    struct device *export = must_export(block);
    faulty_fail_sync("/d0.qcow2", EIO);
    assert_int_equal(merge_flush(merge, &err), -1);
    assert_int_equal(err.code, ErrUnflushedData);
    assert_int_equal(merge_end(merge, &err), -1);
    faulty_fail_sync(NULL, 0);
    must_go_on(block);
    export_must_go_on(export);
    export_unuse(block, export);
    assert_int_equal(merge_begin(merge, &err), -1);
    assert_int_equal(err.code, ErrUnflushedData);
    merge_close(merge);
}

TEST(what_has_taken_its_place_cannot_be_synced)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    CLEANUP_FREE char *path = scratch_path("d0.2.qcow2");
    const struct merge_image child = {path, "qcow2", NULL};
    struct merge *merge = must_push(block);
    must(merge_flush(merge, &err), &err);
    must(merge_rename(merge, &child, &err), &err);
    must(merge_redirect(merge, &err), &err);
    faulty_fail_sync("/d0.qcow2", EIO);
    assert_int_equal(merge_end(merge, &err), -1);
    faulty_fail_sync(NULL, 0);
    must_go_on(block);
    merge_close(merge);
}
