/* SPDX-License-Identifier: Apache-2.0
 *
 * A write acknowledged just before a cut lies in the image that is frozen now. The first flush of
 * the device after the cut makes it durable there, before the group itself has settled.
 */
#include "tests/lib/disks.h"
#include "tests/lib/faulty.h"

#include <errno.h>

static const char *const NAMES[] = {"d0"};

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_flush)
{
    struct block *block = *state;
    struct group *group = group_must_prepare(block, "g.qcow2", 1, NAMES);
    disk_write(block, "d0", 1, 7);
    group_must_cut(group);

    faulty_reset();
    assert_int_equal(0, device_flush(disk(block, "d0")));
    assert_int_equal(1, faulty_flushes("/d0.qcow2"));
    assert_true(image_has("d0.qcow2", "qcow2", 1, 7));

    group_must_finish(group);
    assert_int_equal(1, faulty_flushes("/d0.qcow2"));
    group_free(group);
}

/* Once settled the frozen image cannot be written, not even by us, and its descriptor says so. */
TEST(test_frozen_is_read_only)
{
    struct block *block = *state;
    disk_write(block, "d0", 1, 7);
    CLEANUP(node) struct node *frozen = device_top(disk(block, "d0"));
    group_take(block, "g.qcow2", 1, NAMES);
    disk_write(block, "d0", 1, 8);
    assert_true(image_has("d0.qcow2", "qcow2", 1, 7));
    assert_int_equal(-EROFS, node_write(frozen, "x", 0, 1));
    assert_int_equal(-EBADF, file_write(frozen->fd, "x", 0, 1));
}
