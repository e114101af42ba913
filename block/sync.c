/* SPDX-License-Identifier: Apache-2.0
 *
 * Many fsyncs at once through io_uring, so that a group of many members waits for its disk about
 * once. Where io_uring is not to be had (old kernel, seccomp), one after the other. See stage.h.
 */
#include "block/stage.h"

#include <errno.h>
#include <liburing.h>

enum { RING_ENTRIES = 64 };

static void sync_one_by_one(const int *fds, size_t count, int *results)
{
    for (size_t i = 0; i < count; i++)
        results[i] = fsync(fds[i]) == 0 ? 0 : -errno;
}

enum { RESULT_PENDING = 1 };

/* Syncs up to RING_ENTRIES files. 0, or the ring's own -errno; then some results are still pending.
 */
static int sync_batch(struct io_uring *ring, const int *fds, size_t count, int *results)
{
    for (size_t i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
        io_uring_prep_fsync(sqe, fds[i], 0);
        io_uring_sqe_set_data(sqe, &results[i]);
    }
    int ret;
    do
        ret = io_uring_submit_and_wait(ring, (unsigned)count);
    while (ret == -EINTR);
    for (size_t done = 0; ret >= 0 && done < count;) {
        struct io_uring_cqe *cqe = NULL;
        ret = io_uring_wait_cqe(ring, &cqe);
        if (ret == -EINTR)
            ret = 0;
        else if (ret == 0) {
            *(int *)io_uring_cqe_get_data(cqe) = cqe->res;
            io_uring_cqe_seen(ring, cqe);
            done++;
        }
    }
    return ret < 0 ? ret : 0;
}

void file_sync_all(const int *fds, size_t count, int *results)
{
    struct io_uring ring;
    if (count < 2 || io_uring_queue_init(RING_ENTRIES, &ring, 0) != 0) {
        sync_one_by_one(fds, count, results);
        return;
    }
    for (size_t i = 0; i < count; i++)
        results[i] = RESULT_PENDING;
    int ret = 0;
    for (size_t i = 0; i < count && ret == 0; i += RING_ENTRIES)
        ret = sync_batch(&ring, fds + i, count - i < RING_ENTRIES ? count - i : RING_ENTRIES,
                         results + i);
    io_uring_queue_exit(&ring);
    for (size_t i = 0; i < count; i++)
        if (results[i] == RESULT_PENDING)
            results[i] = ret;
}
