/* SPDX-License-Identifier: Apache-2.0
 *
 * A journal that cannot grow beyond the segment it was created with (-Wl,--wrap,
 * tests/CMakeLists.txt) never refuses a change for good, whatever the changes' sizes: it is
 * flushed, and begins again. After a kill all is there.
 */
#include "tests/lib/killable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { DISK_BYTES = 8 << 20, LARGE_BYTES = 512 << 10, SMALL_BYTES = 3 << 10, ROUNDS = 40 };

static unsigned char data[DISK_BYTES];
static bool can_allocate = true;
static int refused;

int __real_posix_fallocate64(int fd, off_t offset, off_t length);
int __wrap_posix_fallocate64(int fd, off_t offset, off_t length);

int __wrap_posix_fallocate64(int fd, off_t offset, off_t length)
{
    if (can_allocate)
        return __real_posix_fallocate64(fd, offset, length);
    refused++;
    return ENOSPC;
}

/* Large and small ones in turn, so that a flush finds the segment begun at any place. */
static int writer(void *arg)
{
    (void)arg;
    struct node *node = journaled_open("top.qcow2");
    if (!node)
        return 3;
    can_allocate = false;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t large = (uint64_t)i * LARGE_BYTES % DISK_BYTES;
        uint64_t small = (uint64_t)i * 7919 * 512 % (DISK_BYTES - SMALL_BYTES);
        if (node_zero(node, large, LARGE_BYTES, true) != 0 ||
            node_write(node, data + large, large, LARGE_BYTES) != 0 ||
            node_write(node, data + small, small, SMALL_BYTES) != 0)
            return 4;
    }
    if (!refused)
        return 5;
    die();
    return 0;
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(it_is_flushed_and_begins_again)
{
    struct random random = random_seeded(30126);
    random_fill(&random, data, DISK_BYTES);
    shell("mkdir -p run && qemu-img create -q -f qcow2 -o cluster_size=512 top.qcow2 %d",
          DISK_BYTES);
    assert_int_equal(block_close(journals_must_open(), &(struct err){0}), 0);
    assert_true(killed_child(writer, NULL, 0, false));
    assert_int_equal(journals_settle(), 0);
    int status = shell_status("qemu-img check -q -f qcow2 top.qcow2");
    assert_true(status == 0 || status == 3);
    struct flat flat = {data, DISK_BYTES};
    flat_must_match_image(&flat, "top.qcow2", "qcow2");
}
