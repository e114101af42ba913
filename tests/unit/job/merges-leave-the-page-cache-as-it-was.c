/* SPDX-License-Identifier: Apache-2.0
 *
 * A merge leaves in the page cache what clients read: it stays there above until the chain is
 * redirected, and is there beneath. What nobody has read since the image was opened, or what the
 * merge has brought in, is in neither image's cache afterwards. The kernel says which pages are
 * there (mincore). On a disk if there is one: in memory files are nowhere but in the page cache.
 */
#include "block/merge.h"
#include "tests/lib/disks.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    MIB = 1 << 20,
    SIZE_MIB = 32,
    PAGE_BYTES = 4096,
    BLOCK_BYTES = 4096,     /* of disk_read() */
    PART_BYTES = 256 << 10, /* that is marked as read */
    TMPFS = 0x01021994,
    ROUGHLY_MIB = 2,
};

__attribute__((constructor)) static void disk_prefer(void)
{
    setenv("TMPDIR", "/var/tmp", 0);
}

static int image_fd(const char *name, off_t *size_bytes)
{
    struct stat st;
    CLEANUP_FREE char *path = scratch_path(name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    *size_bytes = st.st_size;
    return fd;
}

/* MiB of the image that are in the page cache. */
static off_t cached_mib(const char *name)
{
    off_t size_bytes, cached = 0;
    unsigned char pages[(SIZE_MIB + 8) * MIB / PAGE_BYTES];
    CLEANUP_CLOSE int fd = image_fd(name, &size_bytes);
    assert_true((size_t)size_bytes <= sizeof(pages) * PAGE_BYTES);
    void *map = mmap(NULL, (size_t)size_bytes, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED && mincore(map, (size_t)size_bytes, pages) == 0);
    for (off_t i = 0; i < (size_bytes + PAGE_BYTES - 1) / PAGE_BYTES; i++)
        cached += pages[i] & 1;
    munmap(map, (size_t)size_bytes);
    return cached * PAGE_BYTES / MIB;
}

static void image_drop(const char *name)
{
    off_t size_bytes;
    CLEANUP_CLOSE int fd = image_fd(name, &size_bytes);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

/* lower <- upper, all data, on the disk and in the page cache <- v, a device. `order`: of upper's
 * MiB in its file, for seq. */
static void images_create_in(struct block *block, const char *order)
{
    off_t size_bytes;
    shell("qemu-img create -q -f qcow2 lower.img %dM && "
          "qemu-img create -q -f qcow2 -F qcow2 -b lower.img upper.img && "
          "qemu-img create -q -f qcow2 -F qcow2 -b upper.img top.img && "
          "seq -f 'write -q -P 7 %%gM 1M' %s | qemu-io -f qcow2 upper.img >/dev/null",
          SIZE_MIB, order);
    image_drop("upper.img");
    shell("cat upper.img >/dev/null");
    close(image_fd("upper.img", &size_bytes));
    assert_in_range(size_bytes, SIZE_MIB * MIB, (SIZE_MIB + 8) * MIB);
    disk_attach(block, "v", "top.img");
}

static void images_create(struct block *block)
{
    images_create_in(block, "0 31");
}

static void half_read(struct device *device)
{
    CLEANUP_FREE char *bytes = malloc(SIZE_MIB / 2 * MIB);
    assert_int_equal(device_read(device, bytes, 0, SIZE_MIB / 2 * MIB), 0);
    assert_true(bytes[0] == 7 && bytes[SIZE_MIB / 2 * MIB - 1] == 7);
}

static void disk_or_skip(void)
{
    struct statfs fs;
    assert_int_equal(statfs(scratch_dir(), &fs), 0);
    if (fs.f_type == TMPFS)
        skip();
}

/* Cached in both, roughly. */
static void merge_leaves(struct block *block, off_t upper_mib, off_t lower_mib)
{
    images_merge(block, "lower.img", "upper.img");
    assert_in_range(cached_mib("upper.img"), upper_mib, upper_mib + ROUGHLY_MIB);
    assert_in_range(cached_mib("lower.img"), lower_mib, lower_mib + ROUGHLY_MIB);
    disk_detach(block, "v");
    shell("! qemu-io -f qcow2 -c 'read -P 7 0 %dM' lower.img | grep failed", SIZE_MIB);
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(what_clients_read_stays)
{
    disk_or_skip();
    images_create(*state);
    half_read(disk(*state, "v"));
    merge_leaves(*state, SIZE_MIB / 2, SIZE_MIB / 2);
}

TEST(neighbours_of_what_goes_stay)
{
    disk_or_skip();
    images_create_in(*state, "31 -1 0");
    for (unsigned part = 0; part < SIZE_MIB * MIB / PART_BYTES; part++)
        if (part * PART_BYTES / MIB % 2 == 0)
            (void)disk_read(*state, "v", part * PART_BYTES / BLOCK_BYTES);
    images_merge(*state, "lower.img", "upper.img");
    assert_in_range(cached_mib("upper.img"), SIZE_MIB / 2, SIZE_MIB + ROUGHLY_MIB);
    assert_in_range(cached_mib("lower.img"), SIZE_MIB / 2, SIZE_MIB / 2 + ROUGHLY_MIB);
    disk_detach(*state, "v");
}

TEST(what_nobody_reads_does_not)
{
    disk_or_skip();
    images_create(*state);
    assert_in_range(cached_mib("upper.img"), SIZE_MIB, SIZE_MIB + 8);
    merge_leaves(*state, 0, 0);
}

TEST(what_a_backup_has_read_does_not)
{
    disk_or_skip();
    images_create(*state);
    disk_attach_read_only(*state, "backup", "upper.img");
    half_read(disk(*state, "backup"));
    disk_detach(*state, "backup");
    merge_leaves(*state, 0, 0);
}

TEST(what_the_merge_has_brought_in_does_not)
{
    disk_or_skip();
    images_create(*state);
    half_read(disk(*state, "v"));
    image_drop("upper.img");
    assert_int_equal(cached_mib("upper.img"), 0);
    merge_leaves(*state, 0, 0);
}
