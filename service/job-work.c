/* SPDX-License-Identifier: Apache-2.0
 *
 * See job-work.h.
 *
 * After each piece the thread yields its processor: the kernel may let it go on for milliseconds
 * although a thread with a guest's request waits, and most of what requests wait for beside a job
 * is that. Pieces are short, so that such a wait is.
 */
#include "service/job-work.h"

#include "base/cleanup.h"
#include "base/monotonic.h"
#include "service/context.h"
#include "service/metrics.h"

#include <errno.h>
#include <sched.h>

#define SAVE_BYTES (256ULL << 20)
#define SAVE_US    5000000ULL
/* For tables of the image, and of its file system. */
#define SPARE_LEAST_BYTES (1ULL << 20)
#define SPARE_MOST_BYTES  (64ULL << 20)

int job_work_check_space(uint64_t new_bytes, uint64_t free_bytes, struct err *err)
{
    uint64_t spare = SPARE_LEAST_BYTES + new_bytes / 32;
    uint64_t needed = new_bytes + (spare < SPARE_MOST_BYTES ? spare : SPARE_MOST_BYTES);
    return needed <= free_bytes
               ? 0
               : err_set(err, ErrOpenFileFailed, ENOSPC,
                         "up to %llu bytes are to be written, and %llu are free",
                         (unsigned long long)needed, (unsigned long long)free_bytes);
}

int job_work_record(struct service *service, const struct job_row *job,
                    int query(struct store_transaction *, const struct job_row *, struct err *),
                    struct err *err)
{
    CLEANUP(store_transaction)
    struct store_transaction *transaction = store_begin(service->store, err);
    int changed = transaction ? query(transaction, job, err) : -1;
    if (changed <= 0)
        return changed;
    return store_commit(steal(transaction), err) == 0 ? 1 : -1;
}

int job_work_run(struct service *service, struct job_row *job, const struct job_work *work,
                 uint64_t offset, struct err *err)
{
    uint64_t unsaved = 0, saved_us = clock_monotonic_us(), bytes;
    for (;;) {
        int ret = work->piece(work->context, &offset, &bytes, err);
        if (ret < 0)
            return -1;
        sched_yield();
        job->done_bytes += bytes;
        metrics_count_job_bytes(service->metrics, bytes);
        unsaved += bytes;
        bool is_stopped = ret == 0 && job_control_pace(service->job_control, bytes, work->hurry);
        bool is_due = unsaved >= SAVE_BYTES || clock_monotonic_us() >= saved_us + SAVE_US;
        enum job_save why = ret ? JOB_SAVE_ALL : is_stopped ? JOB_SAVE_STOPPED : JOB_SAVE_DUE;
        if ((why != JOB_SAVE_DUE || is_due) && work->save(work->context, offset, why, err) != 0)
            return -1;
        if (why != JOB_SAVE_DUE)
            return is_stopped;
        if (is_due) {
            unsaved = 0;
            saved_us = clock_monotonic_us();
        }
    }
}
