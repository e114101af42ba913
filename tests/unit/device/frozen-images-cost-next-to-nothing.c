/* SPDX-License-Identifier: Apache-2.0
 *
 * An image that a group has frozen and that nobody reads keeps at most 8 KiB of memory, whatever
 * was cached of it as a top. Counted is what malloc has given out, so that page sizes and fragments
 * have no influence; sanitizers have a malloc of their own, which counts nothing.
 */
#include "tests/lib/disks.h"

#include <malloc.h>
#include <stdio.h>

enum { DISKS = 3, GROUPS = 20, FROZEN_BYTES_MAX = 8 << 10, BLOCK_COUNT = DISK_BYTES >> 12 };

static const char *const NAMES[DISKS] = {"d0", "d1", "d2"};

static size_t allocated_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Each disk is written to, so that its tables are cached, then frozen. */
static void group_of_written_disks(struct block *block, unsigned number)
{
    char suffix[32];
    for (size_t i = 0; i < DISKS; i++)
        for (unsigned at = 0; at < BLOCK_COUNT; at += 16)
            disk_write(block, NAMES[i], at, (unsigned char)number);
    snprintf(suffix, sizeof(suffix), "g%u.qcow2", number);
    group_take(block, suffix, DISKS, NAMES);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(frozen_images)
{
    struct block *block = *state;
    group_of_written_disks(block, 0);
    size_t before = allocated_bytes();
    for (unsigned i = 1; i <= GROUPS; i++)
        group_of_written_disks(block, i);
    size_t bytes = (allocated_bytes() - before) / (GROUPS * DISKS);
    print_message("%zu bytes a frozen image\n", bytes);
    assert_true(bytes <= FROZEN_BYTES_MAX);
    for (size_t i = 0; i < DISKS; i++)
        assert_int_equal(disk_read(block, NAMES[i], 16), GROUPS);
}
