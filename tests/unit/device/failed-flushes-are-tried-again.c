/* SPDX-License-Identifier: Apache-2.0
 *
 * A flush that failed, but for a failed sync, is tried again by the image's flusher: once there is
 * space again all is durable though nobody asks for it any more, also if the wall clock is set back
 * meanwhile. A signal during fdatasync is no failed sync.
 *
 * The pwrite64 and fdatasync that fail are this program's own, and so is the clock: it is an hour
 * ahead of the kernel's.
 * timeout: 120
 */
#include "tests/lib/disks.h"

#include "block/format/qcow2/state.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_bool is_full;
static atomic_int interrupts;

ssize_t pwrite64(int fd, const void *buf, size_t count, off64_t offset)
{
    if (atomic_load(&is_full)) {
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_pwrite64, fd, buf, count, offset);
}

int fdatasync(int fd)
{
    if (atomic_load(&interrupts) > 0 && atomic_fetch_sub(&interrupts, 1) > 0) {
        errno = EINTR;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int ret = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME)
        now->tv_sec += 3600;
    return ret;
}

static bool is_clean(struct node *node)
{
    struct qcow2 *q = node->state;
    LOCK_GUARD(&q->lock);
    return q->cache.dirty_count == 0 && !q->has_dirty_l1 && !q->flusher.must_retry;
}

static const struct fixture fixture = {.begin = disks_begin, .end = disks_end};

TEST(what_failed_is_tried_again)
{
    struct block *block = *state;
    CLEANUP(node) struct node *node = device_top(disk(block, "d0"));
    disk_write(block, "d0", 1, 7);
    atomic_store(&is_full, true);
    assert_int_equal(-ENOSPC, device_flush(disk(block, "d0")));
    assert_false(is_clean(node));
    atomic_store(&is_full, false);
    while (!is_clean(node)) /* or the test's time is up */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_true(image_has("d0.qcow2", "qcow2", 1, 7));
}

TEST(a_signal_is_no_failed_sync)
{
    struct block *block = *state;
    disk_write(block, "d1", 1, 7);
    atomic_store(&interrupts, 3);
    assert_int_equal(0, device_flush(disk(block, "d1")));
    assert_int_equal(0, atomic_load(&interrupts));
    disk_write(block, "d1", 1, 8);
}
