/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of QEMU's lock bytes an image has in every state: those that QEMU 7.2's own writers (100,
 * 101, 103, 201, 203) and readers of a backing file (100, 201, 203) hold, as /proc/locks shows
 * them. They are there before anything is read from an image and before an overlay has its name,
 * and gone with the device.
 */
#include "block/image/drivers.h"
#include "tests/lib/disks.h"

#include "block/device/clients.h"
#include "block/device/exports.h"
#include "block/frozen.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WRITER "100 101 103 201 203"
#define READER "100 201 203"

static const char *const NAMES[] = {"d0"};

/* The bytes that other descriptions than a new one hold. */
static void held(const char *path, char text[64])
{
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    *text = 0;
    for (int byte = 0; byte < 300; byte++) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
        assert_int_equal(0, fcntl(fd, F_OFD_GETLK, &lock));
        if (lock.l_type != F_UNLCK)
            sprintf(text + strlen(text), "%s%d", *text ? " " : "", byte);
    }
}

static void must_hold(const char *path, const char *wanted)
{
    char text[64];
    held(path, text);
    assert_string_equal(wanted, text);
}

static char at_open[64]; /* what was held as the driver was asked to open the overlay */
static bool had_name;

static int spy_open(struct node *node, struct err *err)
{
    char link[32];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", node->fd);
    held(link, at_open);
    had_name = access(node->path, F_OK) == 0;
    return driver_qcow2.open(node, err);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_group)
{
    struct block *block = *state;
    struct err err;
    must_hold("d0.qcow2", WRITER);
    struct driver spy = driver_qcow2;
    spy.open = spy_open;
    driver_register(&spy);
    group_take(block, "g.qcow2", 1, NAMES);
    driver_register(&driver_qcow2);
    assert_string_equal(WRITER, at_open);
    assert_false(had_name);
    must_hold("d0.qcow2", READER);
    must_hold("d0.g.qcow2", WRITER);

    CLEANUP_FREE char *image = scratch_path("d0.qcow2");
    assert_int_equal(0, block_frozen_add(block, "d0", "g", "id", image, NULL, "qcow2", NULL, &err));
    struct device *member = export_use(block, "d0@g", &(struct client_names){0}, &err);
    assert_non_null(member);
    assert_int_equal(0, block_device_close(block, "d0", &err));
    must_hold("d0.qcow2", READER);
    must_hold("d0.g.qcow2", "");
    export_unuse(block, member);
    must_hold("d0.qcow2", "");
}

TEST(test_chain)
{
    struct block *block = *state;
    struct err err;
    shell("qemu-img create -q -f raw base.raw 1M && for o in 1 2; do "
          "qemu-img create -q -f qcow2 -b base.raw -F raw $o.qcow2; done");
    struct device_spec writer = {.name = "writer", .image = "1.qcow2", .format = "qcow2"};
    struct device_spec reader = {
        .name = "reader", .image = "2.qcow2", .format = "qcow2", .read_only = true};
    assert_int_equal(0, block_device_open(block, &writer, &err));
    assert_int_equal(0, block_device_open(block, &reader, &err));
    must_hold("base.raw", READER);
    must_hold("1.qcow2", WRITER);
    must_hold("2.qcow2", READER);
    assert_int_equal(0, block_device_close(block, "writer", &err));
    must_hold("base.raw", READER);
    must_hold("1.qcow2", "");
    assert_int_equal(0, block_device_close(block, "reader", &err));
    must_hold("base.raw", "");
}

TEST(test_abort)
{
    struct block *block = *state;
    struct err err;
    struct group *group = group_must_prepare(block, "g.qcow2", 1, NAMES);
    must_hold("d0.g.qcow2", WRITER);
    shell("ln d0.g.qcow2 kept");
    assert_int_equal(0, group_abort(group, &err));
    group_free(group);
    must_hold("kept", "");
    must_hold("d0.qcow2", WRITER);
}
