/* SPDX-License-Identifier: Apache-2.0
 *
 * A clone is an image on top of a frozen one, which stays as it is: of its size and permissions,
 * with its maker's id. What cannot be made leaves no file, and a creation that was cut short is
 * removed by that id.
 */
#include "tests/lib/disks.h"

#include "block/clone.h"
#include "block/overlay.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};
static const char *const NAMES[] = {"d0"};

static struct clone *clone_of(struct block *block, const char *image, struct err *err)
{
    struct clone_base base = {.image = image, .format = "qcow2", .export = "d0@g"};
    return clone_begin(block, &base, err);
}

static int create(struct clone *clone, const char *path, const char *format, struct err *err)
{
    struct clone_image image = {
        .path = path, .format = format, .shape = {OVERLAY_CLUSTER_BYTES, OVERLAY_EXTENDED_L2}};
    return clone_place(clone, &image, err) != 0 ? -1 : clone_create(clone, owner_id, err);
}

static void freeze_d0(struct block *block)
{
    disk_write(block, "d0", 0, 1);
    group_take(block, "g.qcow2", 1, NAMES);
}

static void must_be_refused(struct block *block, const char *path, const char *format,
                            enum err_code code)
{
    struct err err = {.code = ERR_CODE_COUNT};
    CLEANUP(clone) struct clone *clone = clone_of(block, "d0.qcow2", &err);
    assert_non_null(clone);
    CLEANUP_FREE char *before = scratch_listing();
    assert_int_equal(-1, create(clone, path, format, &err));
    assert_int_equal(code, err.code);
    scratch_listing_must_be(before);
}

TEST(clone_and_its_origin_are_written_independently)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    freeze_d0(block);
    disk_write(block, "d0", 0, 2);
    CLEANUP_FREE char *sum = shell_output("sha256sum < d0.qcow2");
    for (char name[] = "a"; *name <= 'b'; ++*name) {
        char image[] = "a.qcow2";
        *image = *name;
        CLEANUP(clone) struct clone *clone = clone_of(block, "d0.qcow2", &err);
        if (!clone || create(clone, image, "qcow2", &err) != 0)
            fail_msg("%s", err.message);
        disk_attach(block, name, image);
    }
    assert_ptr_equal(disk(block, "a")->newest->backing, disk(block, "d0")->newest->backing);
    assert_ptr_equal(disk(block, "a")->newest->backing, disk(block, "b")->newest->backing);
    assert_int_equal(DISK_BYTES, disk(block, "a")->size_bytes);
    disk_write(block, "a", 0, 3);
    assert_int_equal(2, disk_read(block, "d0", 0));
    assert_int_equal(3, disk_read(block, "a", 0));
    assert_int_equal(1, disk_read(block, "b", 0));
    CLEANUP_FREE char *now = shell_output("sha256sum < d0.qcow2");
    assert_string_equal(sum, now);
}

TEST(clone_names_its_base_relatively)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    freeze_d0(block);
    shell("mkdir below && chmod 640 d0.qcow2");
    CLEANUP(clone) struct clone *clone = clone_of(block, "d0.qcow2", &err);
    if (!clone || create(clone, "below/a.qcow2", "qcow2", &err) != 0)
        fail_msg("%s", err.message);
    shell("qemu-img check -q below/a.qcow2 && qemu-img info below/a.qcow2 | "
          "grep -q '^backing file: ../d0.qcow2 '");
    struct stat st;
    assert_int_equal(0, stat("below/a.qcow2", &st));
    assert_int_equal(0640, st.st_mode & 07777);
}

TEST(what_cannot_be_made_leaves_nothing)
{
    struct block *block = *state;
    freeze_d0(block);
    shell("echo precious > there");
    must_be_refused(block, "there", "qcow2", ErrOpenFileFailed);
    must_be_refused(block, "d0.qcow2", "qcow2", ErrOpenFileFailed);
    must_be_refused(block, "missing/a.qcow2", "qcow2", ErrOpenFileFailed);
    must_be_refused(block, "../a.qcow2", "qcow2", ErrOpenFileFailed);
    must_be_refused(block, "a.raw", "raw", ErrInvalidBlockFormat);
    must_be_refused(block, "a.vmdk", "vmdk", ErrInvalidBlockFormat);
}

TEST(only_frozen_images_are_cloned)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    assert_null(clone_of(block, "d1.qcow2", &err)); /* a top */
    assert_int_equal(ErrImageInUse, err.code);
    assert_int_equal(0, block_device_close(block, "d1", &err));
    assert_null(clone_of(block, "d1.qcow2", &err));
    assert_int_equal(ErrOpenFileFailed, err.code);
    assert_null(clone_of(block, "missing.qcow2", &err));
    assert_int_equal(ErrOpenFileFailed, err.code);
    freeze_d0(block);
    struct clone_base other = {
        .image = "d0.qcow2", .identity = "another", .format = "qcow2", .export = "d0@g"};
    assert_null(clone_begin(block, &other, &err));
    assert_int_equal(ErrOpenFileFailed, err.code);
}

TEST(creation_that_was_cut_short_is_removed_by_its_id)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    freeze_d0(block);
    CLEANUP_FREE char *before = scratch_listing();
    CLEANUP(clone) struct clone *clone = clone_of(block, "d0.qcow2", &err);
    if (!clone || create(clone, "a.qcow2", "qcow2", &err) != 0)
        fail_msg("%s", err.message);
    CLEANUP_FREE char *after = scratch_listing();
    assert_int_equal(0,
                     block_overlay_discard(block, "a.qcow2", NULL, "qcow2", other_owner_id, &err));
    scratch_listing_must_be(after);
    assert_int_equal(0, block_overlay_discard(block, "a.qcow2", NULL, "qcow2", owner_id, &err));
    scratch_listing_must_be(before);
}
