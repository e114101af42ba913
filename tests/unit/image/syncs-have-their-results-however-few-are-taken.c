/* SPDX-License-Identifier: Apache-2.0
 *
 * file_sync_all() has a result for every file, the right one, however many requests the kernel
 * takes at a time, and when it takes no more; the write-back of each has begun before. The seams
 * lie in front of liburing (-Wl,--wrap, tests/CMakeLists.txt): they hide what is queued beyond a
 * number, fail, or make the ring small.
 */
#include "block/image/sync.h"
#include "tests/lib/testlib.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

enum { FILES = 300 };

static unsigned ring_entries; /* 0: as asked for */
static unsigned taken_most;   /* of one submission; 0: all */
static unsigned calls, calls_until_failure = UINT32_MAX;
static int failure;
static unsigned written_back; /* files */

int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_sync_file_range(int fd, off_t offset, off_t bytes, unsigned flags);
int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);

int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    return __real_io_uring_queue_init(ring_entries ? ring_entries : entries, ring, flags);
}

int __wrap_sync_file_range(int fd, off_t offset, off_t bytes, unsigned flags)
{
    (void)fd;
    assert_true(offset == 0 && bytes == 0);
    assert_int_equal(flags, SYNC_FILE_RANGE_WRITE);
    written_back++;
    return 0;
}

int __wrap_io_uring_submit(struct io_uring *ring)
{
    assert_true(written_back >= ring->sq.sqe_tail); /* which counts from the ring's beginning on */
    if (calls++ >= calls_until_failure)
        return failure;
    unsigned tail = ring->sq.sqe_tail;
    if (taken_most && tail - ring->sq.sqe_head > taken_most)
        ring->sq.sqe_tail = ring->sq.sqe_head + taken_most;
    int ret = __real_io_uring_submit(ring);
    ring->sq.sqe_tail = tail;
    return ret;
}

/* Every seventh is no file and every eleventh a pipe. */
static void results_must_be_right(void)
{
    int fds[FILES], results[FILES], ends[2];
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < FILES; i++) {
        fds[i] = i % 7 == 3    ? -1
                 : i % 11 == 5 ? ends[0]
                               : open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        results[i] = 4711;
    }
    calls = written_back = 0;
    file_sync_all(fds, FILES, results);
    for (int i = 0; i < FILES; i++) {
        assert_int_equal(results[i], i % 7 == 3 ? -EBADF : i % 11 == 5 ? -EINVAL : 0);
        if (i % 7 != 3 && i % 11 != 5)
            close(fds[i]);
    }
    close(ends[0]);
    close(ends[1]);
}

static const struct fixture fixture = {.begin_all = scratch_begin, .end_all = scratch_end};

TEST(all_are_synced)
{
    static const unsigned entries[] = {0, 1, 4}, most[] = {0, 1, 3};
    static const int failures[] = {0, -EAGAIN, -EBUSY, -EPERM};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 4; k++) {
                ring_entries = entries[i];
                taken_most = most[j];
                failure = failures[k];
                calls_until_failure = UINT32_MAX;
                results_must_be_right();
                for (calls_until_failure = 0; calls_until_failure < 4; calls_until_failure++)
                    results_must_be_right();
            }
}
