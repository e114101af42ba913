/* SPDX-License-Identifier: Apache-2.0
 *
 * The work of a job that runs: piece after piece, at its rate, saved now and then. Its thread.
 */
#ifndef SERVICE_JOB_WORK_H
#define SERVICE_JOB_WORK_H

#include "base/err.h"
#include "service/job-control.h"
#include "store/jobs.h"

#include <stdint.h>

struct service;

enum job_save {
    JOB_SAVE_DUE,     /* more follows */
    JOB_SAVE_STOPPED, /* nothing follows now */
    JOB_SAVE_ALL,     /* all is done */
};

struct job_work {
    void *context;
    /* Does a piece from *offset on, and moves it past that; *bytes: how much it was. 1: there is
     * nothing any more; 0; -1: *err. */
    int (*piece)(void *context, uint64_t *offset, uint64_t *bytes, struct err *err);
    /* All below the offset is to be durable, and recorded. */
    int (*save)(void *context, uint64_t offset, enum job_save why, struct err *err);
    const struct job_hurry *hurry; /* no piece waits for its rate once it is due; or NULL */
};

/* From `offset` on; counts in job->done_bytes. 0: all is done; 1: the job was told to stop; -1:
 * *err. */
int job_work_run(struct service *service, struct job_row *job, const struct job_work *work,
                 uint64_t offset, struct err *err);

/* Makes one change of the job's row, in a commit of its own. 1; 0: it is none of the job as it is
 * now; -1: *err. */
int job_work_record(struct service *service, const struct job_row *job,
                    int query(struct store_transaction *, const struct job_row *, struct err *),
                    struct err *err);

/* OpenFileFailed (ENOSPC) if so many new bytes, and some to spare, would not fit. */
int job_work_check_space(uint64_t new_bytes, uint64_t free_bytes, struct err *err);

#endif
