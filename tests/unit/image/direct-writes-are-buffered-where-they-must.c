/* SPDX-License-Identifier: Apache-2.0
 *
 * A write past the page cache that the file system does not take, as it stands or from some place
 * on, goes through the page cache; another error is one. pwrite() of the code under test comes by
 * here, and a flat copy says what the image must hold.
 */
#include "tests/lib/testlib.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MIB = 1 << 20, ALIGNMENT = 4096 };

static int errnum;            /* what direct writes fail with; 0: they do not */
static size_t taken_bytes;    /* of direct writes, before they fail */
static unsigned direct_count; /* how many came */

ssize_t pwrite(int fd, const void *buf, size_t length, off_t offset)
{
    bool is_direct = fcntl(fd, F_GETFL) & O_DIRECT;
    direct_count += is_direct;
    if (is_direct && errnum && taken_bytes == 0) {
        errno = errnum;
        return -1;
    }
    if (is_direct && errnum && length > taken_bytes)
        length = taken_bytes;
    if (is_direct && errnum)
        taken_bytes -= length;
    return syscall(SYS_pwrite64, fd, buf, length, offset);
}

/* The image is written, in one piece, and closed: 0 or -errno. */
static int image_write(const char *format, const struct flat *flat, unsigned char *buf)
{
    const struct disk_range range = {0, MIB};
    struct node *node = chain_must_open("image", format, false);
    node_open_direct(node);
    if (node->direct_fd < 0)
        skip(); /* this file system has no such writes */
    memcpy(buf, flat->bytes, MIB);
    int ret = node_write_many(node, buf, &range, 1, true);
    node_close_direct(node);
    node_must_close(&node);
    return ret;
}

static void image_must_hold(const char *format, int taken, int failed_with, int expected,
                            unsigned least_count)
{
    struct random random = random_seeded(taken);
    CLEANUP(flat) struct flat *flat = flat_new(MIB);
    CLEANUP_FREE unsigned char *buf = aligned_alloc(ALIGNMENT, MIB);
    random_fill(&random, flat->bytes, MIB);
    shell("rm -f image; qemu-img create -q -f %s image 1M", format);
    errnum = failed_with;
    taken_bytes = (size_t)taken;
    direct_count = 0;
    assert_int_equal(image_write(format, flat, buf), expected);
    assert_true(direct_count >= least_count);
    if (expected == 0)
        flat_must_match_image(flat, "image", format);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(they_are_direct_where_they_can_be)
{
    image_must_hold("raw", 0, 0, 0, 1);
    image_must_hold("qcow2", 0, 0, 0, 1);
}

TEST(a_refused_one_is_buffered)
{
    image_must_hold("raw", 0, EINVAL, 0, 1);
    image_must_hold("qcow2", 0, EINVAL, 0, 1);
    image_must_hold("qcow2", 0, EOPNOTSUPP, 0, 1);
}

TEST(the_rest_of_one_is_buffered)
{
    image_must_hold("raw", 3 * ALIGNMENT, EINVAL, 0, 2);
    image_must_hold("qcow2", 512, EINVAL, 0, 2);
}

TEST(an_error_is_one)
{
    image_must_hold("raw", 0, EIO, -EIO, 1);
    image_must_hold("qcow2", ALIGNMENT, ENOSPC, -ENOSPC, 2);
}
