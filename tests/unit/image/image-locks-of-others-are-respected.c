/* SPDX-License-Identifier: Apache-2.0
 *
 * Every byte that another description holds on an image refuses exactly what QEMU's rules say: "I
 * do" (100 + use) whoever does not bear that use, "nobody else may" (200 + use) whoever does it.
 * Readers do read (0) and bear neither writing (1) nor resizing (3); writers do all three and bear
 * no second one.
 */
#include "tests/lib/disks.h"

#include <fcntl.h>
#include <string.h>

enum { READER = 1, WRITER = 2 };

static const struct {
    short byte;
    unsigned refuses;
} CASES[] = {
    {100, 0},
    {101, READER | WRITER},
    {102, 0},
    {103, READER | WRITER},
    {104, 0},
    {201, WRITER},
    {200, READER | WRITER},
    {203, WRITER},
    {202, 0},
    {204, 0},
    {0, 0},
};

static void open_must(struct block *block, bool read_only, bool refuse, short byte)
{
    struct err err = {.message = ""};
    struct device_spec spec = {
        .name = "x", .image = "x.qcow2", .format = "qcow2", .read_only = read_only};
    int ret = block_device_open(block, &spec, &err);
    if ((ret != 0) != refuse)
        fail_msg("byte %d, read_only %d: %d %s", byte, read_only, ret, err.message);
    if (ret == 0) {
        assert_int_equal(0, block_device_close(block, "x", &err));
        return;
    }
    assert_int_equal(ErrOpenFileFailed, err.code);
    assert_non_null(strstr(err.message, "/x.qcow2' is locked by another process"));
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(test_bytes)
{
    struct block *block = *state;
    shell("qemu-img create -q -f qcow2 x.qcow2 1M");
    CLEANUP_FREE char *before = scratch_listing();
    for (size_t i = 0; i < sizeof(CASES) / sizeof(*CASES); i++) {
        CLEANUP_CLOSE int fd = open("x.qcow2", O_RDONLY | O_CLOEXEC);
        struct flock lock = {
            .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = CASES[i].byte, .l_len = 1};
        assert_int_equal(0, fcntl(fd, F_OFD_SETLK, &lock));
        open_must(block, true, CASES[i].refuses & READER, CASES[i].byte);
        open_must(block, false, CASES[i].refuses & WRITER, CASES[i].byte);
    }
    CLEANUP_CLOSE int fd = open("x.qcow2", O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET}; /* all of it, for itself alone */
    assert_int_equal(0, fcntl(fd, F_OFD_SETLK, &lock));
    open_must(block, true, true, -1);
    open_must(block, false, true, -1);
    CLEANUP_FREE char *after = scratch_listing();
    assert_string_equal(before, after);
}

/* What QEMU tells of the same: a raw image's writer, and its backing file's reader. */
TEST(test_backing)
{
    struct block *block = *state;
    struct err err = {.message = ""};
    shell("qemu-img create -q -f raw base.raw 1M && "
          "qemu-img create -q -f qcow2 -b base.raw -F raw x.qcow2");
    CLEANUP_CLOSE int fd = open("base.raw", O_RDONLY | O_CLOEXEC);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};
    assert_int_equal(0, fcntl(fd, F_OFD_SETLK, &lock));
    struct device_spec spec = {.name = "x", .image = "x.qcow2", .format = "qcow2"};
    assert_int_equal(-1, block_device_open(block, &spec, &err));
    assert_int_equal(ErrOpenFileFailed, err.code);
    assert_non_null(strstr(err.message, "backing file of '"));
    assert_non_null(strstr(err.message,
                           "/base.raw' is locked by another process, which has it open "
                           "for writing"));
}
