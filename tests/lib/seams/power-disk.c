/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the code under test and the kernel: what a power failure could leave. See powerdisk.h.
 */
#include "tests/lib/powerdisk.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    SECTOR_BYTES = 512,
    SECTORS = POWER_FILE_BYTES_MAX / SECTOR_BYTES,
    LOG_MAX = 8192,
};

struct event {
    uint64_t offset, length;
    unsigned char *data; /* NULL: zeros */
};

static struct {
    struct power_rig rig;
    bool is_watched;
    dev_t dev;
    ino_t ino;
    unsigned char *durable; /* POWER_FILE_BYTES_MAX; zeros behind the end */
    uint64_t durable_bytes, length;
    struct event log[LOG_MAX];
    unsigned count;
    uint64_t states, states_end;
} disk;

static unsigned fate[SECTORS], touched[SECTORS]; /* touched: the last event there, plus 1 */

static void log_add(uint64_t offset, uint64_t length, const void *data)
{
    assert_true(offset + length <= POWER_FILE_BYTES_MAX && disk.count < LOG_MAX);
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

/* Applies the part of an event that sectors of a fate above `position` have seen; all of it unless
 * `by_fate`. */
static void event_apply(unsigned char *bytes, unsigned position, bool by_fate)
{
    const struct event *event = &disk.log[position];
    uint64_t end = event->offset + event->length;
    for (uint64_t at = event->offset; at < end;) {
        uint64_t n = SECTOR_BYTES - at % SECTOR_BYTES;
        if (n > end - at)
            n = end - at;
        if (!by_fate || fate[at / SECTOR_BYTES] > position) {
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
        event_apply(disk.durable, i, false);
        free(disk.log[i].data);
    }
    disk.count = 0;
    disk.durable_bytes = disk.length;
}

/* Who has seen what. The odd one out (one event early, or one late) is what finds a missing
 * barrier. */
static void fate_draw(void)
{
    struct random *r = disk.rig.random;
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

static void crash_image_examine(void)
{
    CLEANUP_FREE unsigned char *bytes = malloc(POWER_FILE_BYTES_MAX);
    assert_non_null(bytes);
    memcpy(bytes, disk.durable, POWER_FILE_BYTES_MAX);
    for (unsigned i = 0; i < disk.count; i++)
        event_apply(bytes, i, true);
    CLEANUP_FREE char *path = scratch_path("crash.qcow2");
    CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint64_t length = random_chance(disk.rig.random, 50) ? disk.length : disk.durable_bytes;
    for (uint64_t at = length; at < disk.length; at += SECTOR_BYTES)
        if (fate[at / SECTOR_BYTES])
            length = at + SECTOR_BYTES;
    assert_true(fd >= 0 && ftruncate(fd, (off_t)length) == 0);
    assert_int_equal(file_write(fd, bytes, 0, length), 0);
    disk.rig.examine(disk.rig.arg, disk.states++);
}

/* The number of different fates, or a larger number than `most`: the product over the sectors of
 * one more than the writes that each saw. */
static uint64_t fates_count(uint64_t most)
{
    uint64_t product = 1;
    memset(touched, 0, sizeof(touched));
    for (unsigned i = 0; i < disk.count; i++)
        for (uint64_t s = disk.log[i].offset / SECTOR_BYTES;
             s * SECTOR_BYTES < disk.log[i].offset + disk.log[i].length; s++)
            touched[s] = i + 1;
    for (unsigned i = 0; i < SECTORS && product <= most; i++)
        product *= touched[i] ? disk.count + 1 : 1;
    return product;
}

static void fates_examine(void)
{
    uint64_t all = fates_count(disk.rig.all_max);
    if (all > disk.rig.all_max) {
        for (unsigned i = 0; i < disk.rig.each && disk.states < disk.states_end; i++) {
            fate_draw();
            crash_image_examine();
        }
        return;
    }
    for (uint64_t number = 0; number < all && disk.states < disk.states_end; number++) {
        uint64_t left = number;
        for (unsigned i = 0; i < SECTORS; i++) {
            fate[i] = touched[i] ? (unsigned)(left % (disk.count + 1)) : 0;
            left /= touched[i] ? disk.count + 1 : 1;
        }
        crash_image_examine();
    }
}

/* ---- between the code under test and the kernel ---- */

static bool is_watched(int fd)
{
    struct stat st;
    return disk.is_watched && fstat(fd, &st) == 0 && st.st_dev == disk.dev && st.st_ino == disk.ino;
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
    disk.is_watched = false; /* what the examination opens is not watched */
    if (disk.count)
        fates_examine();
    disk.is_watched = true;
    log_make_durable();
    return 0;
}

/* ---- for the test ---- */

void power_watch(const struct power_rig *rig, int fd)
{
    struct stat st;
    assert_true(!disk.is_watched && fstat(fd, &st) == 0 && st.st_size <= POWER_FILE_BYTES_MAX);
    if (!disk.durable)
        disk.durable = malloc(POWER_FILE_BYTES_MAX);
    assert_non_null(disk.durable);
    memset(disk.durable, 0, POWER_FILE_BYTES_MAX);
    disk.rig = *rig;
    disk.states_end = disk.states + rig->states_max;
    disk.durable_bytes = disk.length = (uint64_t)st.st_size;
    assert_int_equal(file_read(fd, disk.durable, 0, disk.length), 0);
    disk.dev = st.st_dev;
    disk.ino = st.st_ino;
    disk.is_watched = true;
}

void power_unwatch(int fd)
{
    disk.is_watched = false;
    log_make_durable();
    CLEANUP_FREE unsigned char *file = malloc(disk.length);
    assert_int_equal((uint64_t)lseek(fd, 0, SEEK_END), disk.length);
    assert_int_equal(file_read(fd, file, 0, disk.length), 0);
    assert_true(bytes_first_difference(file, disk.durable, disk.length) == disk.length);
    free(steal(disk.durable));
}

uint64_t power_states(void)
{
    return disk.states;
}
