/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients read an image until the chain is redirected past it, so a merge does not take it out of
 * the page cache, and what a merge alone has read does not stay there. The kernel says which pages
 * are there (mincore).
 */
#include "block/merge.h"
#include "tests/lib/disks.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { MIB = 1 << 20, SIZE_MIB = 32, PAGE_BYTES = 4096, TMPFS = 0x01021994 };

static int upper_open(off_t *size_bytes)
{
    struct stat st;
    CLEANUP_FREE char *path = scratch_path("upper.img");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    *size_bytes = st.st_size;
    return fd;
}

/* MiB of the upper image that are in the page cache. */
static off_t upper_cached_mib(void)
{
    off_t size_bytes, cached = 0;
    unsigned char pages[(SIZE_MIB + 8) * MIB / PAGE_BYTES];
    CLEANUP_CLOSE int fd = upper_open(&size_bytes);
    assert_true(size_bytes >= SIZE_MIB * MIB && (size_t)size_bytes <= sizeof(pages) * PAGE_BYTES);
    void *map = mmap(NULL, (size_t)size_bytes, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED && mincore(map, (size_t)size_bytes, pages) == 0);
    for (off_t i = 0; i < size_bytes / PAGE_BYTES; i++)
        cached += pages[i] & 1;
    munmap(map, (size_t)size_bytes);
    return cached * PAGE_BYTES / MIB;
}

static void images_create(void)
{
    shell("qemu-img create -q -f qcow2 lower.img %dM && "
          "qemu-img create -q -f qcow2 -F qcow2 -b lower.img upper.img && "
          "seq -f 'write -q -P 7 %%gk 64k' 0 64 %d | qemu-io -f qcow2 upper.img >/dev/null && "
          "cat upper.img >/dev/null",
          SIZE_MIB, (SIZE_MIB * 1024) - 64);
}

static void upper_drop(void)
{
    off_t size_bytes;
    CLEANUP_CLOSE int fd = upper_open(&size_bytes);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

static void images_merge(struct block *block)
{
    struct err err = {.message = ""};
    struct merge *merge = images_merge_begin(block, "lower.img", "upper.img");
    assert_int_equal(merge_rest(merge, &err), 1);
    assert_int_equal(merge_end(merge, &err), 0);
    merge_close(merge);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(what_was_cached_stays)
{
    images_create();
    off_t before = upper_cached_mib();
    images_merge(*state);
    assert_in_range(upper_cached_mib(), before - 1, SIZE_MIB + 8);
}

TEST(what_the_merge_has_read_does_not)
{
    struct statfs fs;
    assert_int_equal(statfs(scratch_dir(), &fs), 0);
    if (fs.f_type == TMPFS)
        skip(); /* it is nowhere but in memory */
    images_create();
    upper_drop();
    assert_int_equal(upper_cached_mib(), 0);
    images_merge(*state);
    assert_in_range(upper_cached_mib(), 0, 2);
}
