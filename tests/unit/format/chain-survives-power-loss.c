/* SPDX-License-Identifier: Apache-2.0
 *
 * Whenever the power fails, and whichever sectors of the writes since the last fdatasync reached
 * the disk, the image is free of errors (leaks aside) and holds everything that was flushed.
 *
 * This program puts itself between the driver and the kernel: its own pwrite64, pwritev64,
 * fallocate64, ftruncate64 and fdatasync keep a log of what was written since the last fdatasync.
 * On every fdatasync, just before it takes effect, disks that a power failure could have left are
 * made up from the log and examined:
 *
 *     durable        content at the last fdatasync
 *     log            write 0, write 1, ... write N-1, each made of sectors of 512 bytes
 *     fate           per sector: how many writes of the log it has seen (a disk may write in any
 *                    order, but a sector never goes back)
 *     crash image    durable + for each sector the writes below its fate
 *
 * `qemu-img check` judges the crash image, and every byte that no request touched since the last
 * completed flush must be what it was then. CHAIN_SEED repeats a run, CHAIN_STATES scales it.
 */
#include "tests/lib/testlib.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if TEST_SANITIZED
#define STATES_DEFAULT 150
#else
#define STATES_DEFAULT 900
#endif

enum {
    DISK_BYTES = 1 << 20,
    FILE_BYTES_MAX = 8 << 20,
    SECTOR_BYTES = 512,
    SECTORS = FILE_BYTES_MAX / SECTOR_BYTES,
    LOG_MAX = 8192,
    CHECK_LEAKS = 3,
};

struct event {
    uint64_t offset, length;
    unsigned char *data; /* NULL: zeros */
};

static struct {
    int fd; /* the image that is watched; -1: none */
    struct random random;
    unsigned char *durable; /* FILE_BYTES_MAX; zeros behind the end */
    uint64_t durable_bytes, length;
    struct event log[LOG_MAX];
    unsigned count;
    struct flat *flushed;   /* the guest's disk at the last completed flush */
    unsigned char *touched; /* per byte: changed by a request since then */
    uint64_t states, states_wanted;
    const char *what;
} disk = {.fd = -1};

static void log_add(uint64_t offset, uint64_t length, const void *data)
{
    assert_true(offset + length <= FILE_BYTES_MAX && disk.count < LOG_MAX);
    struct event *event = &disk.log[disk.count++];
    *event = (struct event){.offset = offset, .length = length};
    if (data) {
        event->data = malloc(length);
        assert_non_null(event->data);
        memcpy(event->data, data, length);
    }
    if (data && offset + length > disk.length)
        disk.length = offset + length;
}

/* Applies the part of an event that sectors of a fate above `position` have seen; fate NULL: all.
 */
static void event_apply(unsigned char *bytes, unsigned position, const unsigned *fate)
{
    const struct event *event = &disk.log[position];
    uint64_t end = event->offset + event->length;
    for (uint64_t at = event->offset; at < end;) {
        uint64_t n = SECTOR_BYTES - at % SECTOR_BYTES;
        if (n > end - at)
            n = end - at;
        if (!fate || fate[at / SECTOR_BYTES] > position) {
            if (event->data)
                memcpy(bytes + at, event->data + (at - event->offset), n);
            else
                memset(bytes + at, 0, n);
        }
        at += n;
    }
}

static void log_make_durable(void)
{
    for (unsigned i = 0; i < disk.count; i++) {
        event_apply(disk.durable, i, NULL);
        free(disk.log[i].data);
    }
    disk.count = 0;
    disk.durable_bytes = disk.length;
}

/* Who has seen what. The odd one out (one event early, or one late) is what finds a missing
 * barrier. */
static void fate_draw(unsigned *fate)
{
    struct random *r = &disk.random;
    uint64_t mode = random_below(r, 5), odd = random_below(r, disk.count);
    unsigned all = mode == 0   ? (unsigned)random_below(r, disk.count + 1)
                   : mode == 1 ? disk.count
                               : 0;
    bool sparse = random_chance(r, 50);
    for (unsigned i = 0; i < SECTORS; i++) {
        fate[i] = all;
        if (mode == 3)
            fate[i] = (unsigned)random_below(r, disk.count + 1);
        else if (mode == 4 && random_chance(r, sparse ? 10 : 50))
            fate[i] = disk.count;
    }
    const struct event *event = &disk.log[odd];
    for (uint64_t i = event->offset / SECTOR_BYTES;
         i * SECTOR_BYTES < event->offset + event->length; i++) {
        if (mode == 1)
            fate[i] = (unsigned)odd;
        else if (mode == 2)
            fate[i] = (unsigned)odd + 1;
    }
}

static void crash_image_write(void)
{
    static unsigned fate[SECTORS];
    CLEANUP_FREE unsigned char *bytes = malloc(FILE_BYTES_MAX);
    assert_non_null(bytes);
    fate_draw(fate);
    memcpy(bytes, disk.durable, FILE_BYTES_MAX);
    for (unsigned i = 0; i < disk.count; i++)
        event_apply(bytes, i, fate);
    CLEANUP_FREE char *path = scratch_path("crash.qcow2");
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint64_t length = random_chance(&disk.random, 50) ? disk.length : disk.durable_bytes;
    for (uint64_t at = length; at < disk.length; at += SECTOR_BYTES)
        if (fate[at / SECTOR_BYTES])
            length = at + SECTOR_BYTES;
    assert_true(fd >= 0 && ftruncate(fd, (off_t)length) == 0);
    assert_int_equal(file_write(fd, bytes, 0, length), 0);
}

static void crash_image_examine(void)
{
    int status = shell_status("qemu-img check -f qcow2 crash.qcow2 >crash.log");
    if (status != 0 && status != CHECK_LEAKS) {
        CLEANUP_FREE char *log = shell_output("head -c 600 crash.log");
        fail_msg("%s: state %" PRIu64 ": qemu-img check ended with %d: %s", disk.what, disk.states,
                 status, log);
    }
    struct node *node = chain_must_open("crash.qcow2", "qcow2", disk.states % 2);
    CLEANUP_FREE unsigned char *found = malloc(DISK_BYTES);
    assert_non_null(found);
    assert_int_equal(node_read(node, found, 0, DISK_BYTES), 0);
    node_unref(node);
    for (uint64_t i = 0; i < DISK_BYTES; i++)
        if (found[i] != disk.flushed->bytes[i] && !disk.touched[i])
            fail_msg("%s: state %" PRIu64 ": byte %" PRIu64 " is 0x%02x, was flushed as 0x%02x",
                     disk.what, disk.states, i, found[i], disk.flushed->bytes[i]);
}

/* ---- between the driver and the kernel ---- */

static bool is_watched(int fd)
{
    return fd == disk.fd && fd >= 0;
}

ssize_t pwrite64(int fd, const void *buf, size_t length, off64_t offset)
{
    if (is_watched(fd))
        log_add((uint64_t)offset, length, buf);
    return syscall(SYS_pwrite64, fd, buf, length, offset);
}

ssize_t pwritev64(int fd, const struct iovec *vector, int count, off64_t offset)
{
    uint64_t at = (uint64_t)offset;
    for (int i = 0; i < count && is_watched(fd); at += vector[i++].iov_len)
        log_add(at, vector[i].iov_len, vector[i].iov_base);
    return syscall(SYS_pwritev, fd, vector, (long)count, offset, 0L);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
    int ret = (int)syscall(SYS_fallocate, fd, mode, offset, length);
    if (is_watched(fd) && ret == 0) {
        uint64_t start = (uint64_t)offset, end = start + (uint64_t)length;
        if (end > disk.length && mode & FALLOC_FL_KEEP_SIZE)
            end = disk.length;
        if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && end > start)
            log_add(start, end - start, NULL);
        if (end > disk.length)
            disk.length = end;
    }
    return ret;
}

int ftruncate64(int fd, off64_t length)
{
    if (is_watched(fd)) {
        if ((uint64_t)length < disk.length)
            log_add((uint64_t)length, disk.length - (uint64_t)length, NULL);
        disk.length = (uint64_t)length;
    }
    return (int)syscall(SYS_ftruncate, fd, length);
}

int fdatasync(int fd)
{
    if (!is_watched(fd))
        return (int)syscall(SYS_fdatasync, fd);
    disk.fd = -1; /* what the examination opens is not watched */
    for (int i = 0; i < 2 && disk.count && disk.states < disk.states_wanted; i++, disk.states++) {
        crash_image_write();
        crash_image_examine();
    }
    disk.fd = fd;
    log_make_durable();
    return 0;
}

/* ---- the guest ---- */

static void disk_watch(struct node *node, const struct flat *flat, const char *what)
{
    memset(disk.durable, 0, FILE_BYTES_MAX);
    disk.durable_bytes = disk.length = (uint64_t)lseek(node->fd, 0, SEEK_END);
    assert_int_equal(file_read(node->fd, disk.durable, 0, disk.length), 0);
    disk.flushed = flat_copy(flat, DISK_BYTES);
    memset(disk.touched, 0, DISK_BYTES);
    disk.what = what;
    disk.fd = node->fd;
}

/* The log must have seen all that the driver did, or the crash images prove nothing. */
static void disk_unwatch(struct node *node)
{
    disk.fd = -1;
    log_make_durable();
    CLEANUP_FREE unsigned char *file = malloc(disk.length);
    assert_int_equal((uint64_t)lseek(node->fd, 0, SEEK_END), disk.length);
    assert_int_equal(file_read(node->fd, file, 0, disk.length), 0);
    assert_true(bytes_first_difference(file, disk.durable, disk.length) == disk.length);
    flat_free(disk.flushed);
}

static void guest_change(struct node *node, struct flat *flat, uint64_t cluster_bytes)
{
    struct random *r = &disk.random;
    uint64_t align = random_chance(r, 50) ? SECTOR_BYTES : cluster_bytes;
    uint64_t offset = random_below(r, DISK_BYTES) / align * align;
    uint64_t length = random_between(r, 1, random_chance(r, 10) ? 40 : 6) * align;
    if (length > DISK_BYTES - offset)
        length = DISK_BYTES - offset;
    uint64_t draw = random_below(r, 100);
    memset(disk.touched + offset, 1, length);
    if (draw < 60) {
        random_fill(r, flat->bytes + offset, length);
        assert_int_equal(node_write(node, flat->bytes + offset, offset, length), 0);
    } else if (draw < 80) {
        memset(flat->bytes + offset, 0, length);
        assert_int_equal(node_zero(node, offset, length, draw & 1), 0);
    } else {
        assert_int_equal(node_discard(node, offset, length), 0);
        assert_int_equal(node_read(node, flat->bytes + offset, offset, length), 0);
    }
}

/* The overlay that a group snapshot creates, nothing written yet. */
static void overlay_create(const struct image_options *options)
{
    const struct image_spec spec = {.size_bytes = DISK_BYTES,
                                    .cluster_bytes = (uint32_t)options->cluster_bytes,
                                    .extended_l2 = options->extended_l2,
                                    .backing_file = "base.qcow2",
                                    .backing_format = "qcow2"};
    struct node *node = overlay_must_create("top.qcow2", &spec, NULL);
    node_must_close(&node);
}

static void guest_run(const struct image_options *base, const struct image_options *options,
                      bool ours, bool snapshot, uint64_t states)
{
    shell("rm -f base.qcow2 top.qcow2");
    image_create("base.qcow2", base, DISK_BYTES, NULL, NULL);
    image_fill("base.qcow2", DISK_BYTES, base->cluster_bytes, &disk.random);
    if (ours) {
        overlay_create(options);
    } else {
        image_create("top.qcow2", options, DISK_BYTES, "base.qcow2", "qcow2");
        image_fill("top.qcow2", DISK_BYTES / 2, options->cluster_bytes, &disk.random);
    }
    if (snapshot)
        image_snapshot("top.qcow2", "one");
    CLEANUP(flat) struct flat *flat = image_truth("top.qcow2", "qcow2");
    struct node *node = chain_must_open("top.qcow2", "qcow2", false);
    disk_watch(node, flat, image_options_text(options));
    disk.states_wanted = disk.states + states;
    for (unsigned i = 0; i < 20000 && disk.states < disk.states_wanted; i++) {
        guest_change(node, flat, options->cluster_bytes);
        if (random_chance(&disk.random, 12)) {
            assert_int_equal(node_flush(node), 0);
            memcpy(disk.flushed->bytes, flat->bytes, DISK_BYTES);
            memset(disk.touched, 0, DISK_BYTES);
        }
    }
    assert_int_equal(node_flush(node), 0);
    disk_unwatch(node);
    node_must_close(&node);
    image_must_be_clean("top.qcow2");
    flat_must_match_image(flat, "top.qcow2", "qcow2");
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(power_loss_is_survived)
{
    const struct image_options variants[] = {
        IMAGE_VARIANTS,
        {.cluster_bytes = 65536, .refcount_bits = 16, .extended_l2 = true},
        /* As group snapshots create them, over a base with other clusters. */
        {.cluster_bytes = 16384, .refcount_bits = 16, .extended_l2 = true},
        {.cluster_bytes = 131072, .refcount_bits = 16, .extended_l2 = true},
    };
    const unsigned ours = 6;
    const unsigned count = sizeof(variants) / sizeof(*variants);
    uint64_t states = environment_number("CHAIN_STATES", STATES_DEFAULT);
    disk.durable = malloc(FILE_BYTES_MAX);
    disk.touched = malloc(DISK_BYTES);
    disk.random = random_seeded(environment_number("CHAIN_SEED", 20121));
    for (unsigned i = 0; i < 2 * count; i++)
        guest_run(&variants[i / 2 < ours ? i / 2 : 2], &variants[i / 2], i / 2 >= ours, i % 2,
                  states / count / 2);
    printf("%" PRIu64 " crash images examined\n", disk.states);
    assert_true(disk.states >= states / 2);
    free(disk.durable);
    free(disk.touched);
}
