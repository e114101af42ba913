/* SPDX-License-Identifier: Apache-2.0
 *
 * Concurrent fsyncs through io_uring: a group of many members waits for its disk about once. Files
 * that io_uring does not take (old kernel, seccomp, no memory) are synced one after the other.
 * A file is never synced a second time because the result of the first is not known: the kernel
 * reports a failure once. See sync.h.
 *
 *     0 ............ done in any order ............ submitted ....... queued ........ end ... count
 *     results known, or in flight: one result each  | in the ring     | not yet in it | later part
 *
 * The files are synced in parts of RING_ENTRIES. The write-back of all files of a part is begun
 * before the first is synced: their blocks are then allocated by few commits of the file system,
 * not by one a file, and only a part's data crowd the queue of the disk.
 */
#include "block/image/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>

enum { RING_ENTRIES = 256 };

static void sync_one_by_one(const int *fds, size_t count, int *results)
{
    for (size_t i = 0; i < count; i++)
        results[i] = fsync(fds[i]) == 0 ? 0 : -errno;
}

enum { RESULT_PENDING = 1 };

struct batch {
    struct io_uring ring;
    const int *fds;
    int *results;
    size_t end, queued, submitted, in_flight;
};

/* As many as the ring has room for. */
static void batch_queue(struct batch *batch)
{
    struct io_uring_sqe *sqe;
    while (batch->queued < batch->end && (sqe = io_uring_get_sqe(&batch->ring))) {
        io_uring_prep_fsync(sqe, batch->fds[batch->queued], 0);
        io_uring_sqe_set_data(sqe, &batch->results[batch->queued++]);
    }
}

/* Hands over what is queued: the kernel may take fewer, and takes the rest another time. -errno if
 * it takes none and has none. */
static int batch_submit(struct batch *batch)
{
    int ret;
    do
        ret = batch->submitted < batch->queued ? io_uring_submit(&batch->ring) : 0;
    while (ret == -EINTR);
    if (ret > 0) {
        batch->submitted += (size_t)ret;
        batch->in_flight += (size_t)ret;
    }
    return batch->in_flight ? 0 : ret < 0 ? ret : -EAGAIN;
}

/* Waits for one result, and takes those that are there as well. */
static int batch_reap(struct batch *batch)
{
    struct io_uring_cqe *cqe = NULL;
    int ret = io_uring_wait_cqe(&batch->ring, &cqe);
    while (ret == 0 && cqe) {
        *(int *)io_uring_cqe_get_data(cqe) = cqe->res;
        io_uring_cqe_seen(&batch->ring, cqe);
        batch->in_flight--;
        cqe = NULL;
        if (io_uring_peek_cqe(&batch->ring, &cqe) != 0)
            break;
    }
    return ret == -EINTR ? 0 : ret;
}

/* Begins it and waits for nothing; the sync reports what fails. */
static void batch_write_back(const struct batch *batch)
{
    for (size_t i = batch->queued; i < batch->end; i++)
        sync_file_range(batch->fds[i], 0, 0, SYNC_FILE_RANGE_WRITE);
}

static int batch_run_part(struct batch *batch)
{
    int ret = 0;
    batch_write_back(batch);
    while (ret == 0 && (batch->submitted < batch->end || batch->in_flight)) {
        batch_queue(batch);
        ret = batch_submit(batch);
        if (ret == 0)
            ret = batch_reap(batch);
    }
    return ret;
}

static void batch_run(struct batch *batch, size_t count)
{
    int ret = 0;
    while (ret == 0 && batch->end < count) {
        batch->end = count - batch->end < RING_ENTRIES ? count : batch->end + RING_ENTRIES;
        ret = batch_run_part(batch);
    }
    for (size_t i = 0; i < batch->submitted; i++)
        if (batch->results[i] == RESULT_PENDING)
            batch->results[i] = ret;
}

void file_sync_all(const int *fds, size_t count, int *results)
{
    struct batch batch = {.fds = fds, .results = results};
    if (count < 2 || io_uring_queue_init(RING_ENTRIES, &batch.ring, 0) != 0) {
        sync_one_by_one(fds, count, results);
        return;
    }
    for (size_t i = 0; i < count; i++)
        results[i] = RESULT_PENDING;
    batch_run(&batch, count);
    io_uring_queue_exit(&batch.ring);
    sync_one_by_one(fds + batch.submitted, count - batch.submitted, results + batch.submitted);
}
