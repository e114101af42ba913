/* SPDX-License-Identifier: Apache-2.0
 *
 * A file is never opened for writing while another chain has it, under whatever name: the top of a
 * device, a frozen image, an overlay that a running group has just made. Readers may share.
 */
#include "tests/lib/disks.h"

#include "block/device/clients.h"
#include "block/device/exports.h"
#include "block/frozen.h"

#include <string.h>

static const char *const NAMES[] = {"d0"};

static void attach_must_be_refused_as(struct block *block, enum err_code code, const char *image,
                                      bool read_only, const char *word)
{
    struct err err = {.message = ""};
    struct device_spec spec = {
        .name = "other", .image = image, .format = "qcow2", .read_only = read_only};
    assert_int_equal(-1, block_device_open(block, &spec, &err));
    assert_int_equal(code, err.code);
    assert_non_null(strstr(err.message, word));
}

/* Until a detach, or the group's deletion. */
static void attach_must_be_refused(struct block *block, const char *image, bool read_only,
                                   const char *word)
{
    attach_must_be_refused_as(block, ErrImageInUse, image, read_only, word);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_active_images)
{
    struct block *block = *state;
    shell("ln d0.qcow2 hard.qcow2 && ln -s d0.qcow2 soft.qcow2");
    attach_must_be_refused(block, "d0.qcow2", false, "device 'd0'");
    attach_must_be_refused(block, "d0.qcow2", true, "device 'd0'");
    attach_must_be_refused(block, "hard.qcow2", false, "device 'd0'");
    attach_must_be_refused(block, "soft.qcow2", false, "device 'd0'");
}

TEST(test_frozen_images)
{
    struct block *block = *state;
    struct err err;
    group_take(block, "g.qcow2", 1, NAMES);
    attach_must_be_refused(block, "d0.qcow2", false, "device 'd0'");
    struct device_spec reader = {
        .name = "reader", .image = "d0.qcow2", .format = "qcow2", .read_only = true};
    assert_int_equal(0, block_device_open(block, &reader, &err));
    assert_int_equal(0, block_device_close(block, "reader", &err));

    CLEANUP_FREE char *image = scratch_path("d0.qcow2");
    assert_int_equal(0, block_frozen_add(block, "d0", "g", "id", image, NULL, "qcow2", NULL, &err));
    assert_int_equal(0, block_device_close(block, "d0", &err));
    attach_must_be_refused(block, "d0.qcow2", false, "frozen by snapshot group 'g'");

    struct device *member = export_use(block, "d0@g", &(struct client_names){0}, &err);
    assert_non_null(member);
    assert_true(device_is_read_only(member));
    assert_ptr_equal(member, export_use(block, "d0@id", &(struct client_names){0}, &err));
    export_unuse(block, member);
    export_unuse(block, member);
}

TEST(test_overlay_in_the_making)
{
    struct block *block = *state;
    struct err err;
    size_t failed_member;
    struct group *group = group_must_prepare(block, "g.qcow2", 1, NAMES);
    attach_must_be_refused_as(block, ErrDeviceInUse, "d0.g.qcow2", false, "try again");
    assert_int_equal(-1, block_device_close(block, "d0", &err));
    assert_int_equal(ErrDeviceInUse, err.code);
    assert_null(group_of(block, "h.qcow2", 1, NAMES, &failed_member, &err));
    assert_int_equal(ErrDeviceInUse, err.code);
    assert_int_equal(0, group_abort(group, &err));
    group_free(group);
    group_take(block, "h.qcow2", 1, NAMES);
}

TEST(test_connected_clients)
{
    struct block *block = *state;
    struct err err;
    struct device *device = export_use(block, "d1", &(struct client_names){0}, &err);
    assert_ptr_equal(disk(block, "d1"), device);
    assert_int_equal(-1, block_device_close(block, "d1", &err));
    assert_int_equal(ErrDeviceInUse, err.code);
    export_unuse(block, device);
    assert_int_equal(0, block_device_close(block, "d1", &err));
    assert_null(export_use(block, "d1", &(struct client_names){0}, &err));
    assert_int_equal(ErrDeviceNotFound, err.code);
}
