/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether another program has an image open is known also while this one has it open itself; its
 * own use, as a reader for several devices, does not count.
 */
#include "tests/lib/disks.h"

#include "block/overlay.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { QEMU_READS = 100 }; /* the byte that a QEMU locks while it reads an image */

static void attach(struct block *block, const char *name)
{
    struct err err;
    struct device_spec spec = {
        .name = name, .image = "d0.qcow2", .format = "qcow2", .read_only = true};
    assert_int_equal(0, block_device_open(block, &spec, &err));
}

static void must_be_used(struct block *block, bool wanted)
{
    CLEANUP_FREE char *path = NULL;
    assert_true(asprintf(&path, "%s/d0.qcow2", block_image_dir(block)) > 0);
    assert_int_equal(wanted, block_overlay_is_used(block, path));
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(others_are_told_apart)
{
    struct err err;
    struct block *block = *state;
    struct flock lock = {
        .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = QEMU_READS, .l_len = 1};
    assert_int_equal(0, block_device_close(block, "d0", &err));
    int other = open("d0.qcow2", O_RDONLY | O_CLOEXEC);
    assert_true(other >= 0);
    must_be_used(block, false);
    for (int readers = 0; readers < 3; readers++) {
        assert_int_equal(0, fcntl(other, F_OFD_SETLK, &lock));
        must_be_used(block, true);
        lock.l_type = F_UNLCK;
        assert_int_equal(0, fcntl(other, F_OFD_SETLK, &lock));
        lock.l_type = F_RDLCK;
        must_be_used(block, false);
        attach(block, readers == 0 ? "r0" : readers == 1 ? "r1" : "r2");
    }
    close(other);
}
