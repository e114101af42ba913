/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs: long work, in the background, the oldest first, up to JOBS_RUNNING_MAX at work at a time
 * (job-control.h) and one of each tree of images. A job is its row (store/jobs.h): a restart goes
 * on with what is queued or running. Any thread.
 */
#ifndef SERVICE_JOBS_H
#define SERVICE_JOBS_H

#include "service/events.h"
#include "service/labels.h"
#include "store/jobs.h"

struct service;
struct jobs;

/* Once recovery is done. NULL and *err (OutOfResources). */
struct jobs *jobs_new(struct service *service, struct err *err);

/* Stops the jobs that run; the next start goes on with them. False: the storage of some does not
 * answer. Nothing is freed then, and their threads may use service, store and block at any time:
 * the process must exit. NULL: nothing. */
bool jobs_close(struct jobs *jobs);

/* JobNotFound. */
int jobs_get(struct service *service, const char *id, struct job_row *row, struct err *err);

struct job_change {
    const struct origin *origin;
    const struct condition *condition; /* or NULL */
    bool has_state, has_rate;
    enum job_state state; /* JOB_PAUSED, JOB_CANCELLED, or JOB_RUNNING: go on */
    uint64_t rate_bytes_per_second;
};

/* Changes the job; *row is as it is then. JobNotFound, JobFinished, PreconditionFailed. */
int jobs_change(struct service *service, const char *id, const struct job_change *change,
                struct job_row *row, struct err *err);

#endif
