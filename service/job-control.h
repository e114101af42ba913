/* SPDX-License-Identifier: Apache-2.0
 *
 * How jobs that run are told to stop, and how fast they may go. Each runs on a thread of its own,
 * which asks between pieces of its work; others change what it is told. Any thread.
 */
#ifndef SERVICE_JOB_CONTROL_H
#define SERVICE_JOB_CONTROL_H

#include "service/limits.h"
#include "store/row.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* A job that runs. */
struct job_run {
    char id[STORE_ID_CHARS + 1];    /* "": none */
    pthread_t thread;               /* that it runs on */
    bool is_stopped;                /* it is to stop: paused or cancelled */
    uint64_t rate_bytes_per_second; /* 0: no limit */
    uint64_t allowed_us;            /* monotonic: until then its next piece is to wait */
};

struct job_control {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    bool is_ending;      /* the daemon */
    uint64_t wake_count; /* how often a job may have become one that can run */
    struct job_run runs[JOBS_RUNNING_MAX];
};

void job_control_init(struct job_control *control);
void job_control_clear(struct job_control *control);

/* ---- others ---- */

void job_control_wake(struct job_control *control); /* a job may have become one that can run */
void job_control_end(struct job_control *control);  /* running jobs stop, and no other begins */

/* Tells the job to stop. False: it does not run. */
bool job_control_stop(struct job_control *control, const char *id);

/* Only if it runs. */
void job_control_set_rate(struct job_control *control, const char *id,
                          uint64_t rate_bytes_per_second);

/* The ids of the jobs that run; how many. */
size_t job_control_list(struct job_control *control,
                        char ids[JOBS_RUNNING_MAX][STORE_ID_CHARS + 1]);

/* ---- threads that run jobs ---- */

/* Waits until `running` jobs run, so that idle threads begin one after the other, and there was a
 * wake that the thread has not seen: *seen, which begins as 0. False: the daemon ends. */
bool job_control_await(struct job_control *control, size_t running, uint64_t *seen);

/* The calling thread runs the job from now on, and none else until job_control_finish(). */
void job_control_begin(struct job_control *control, const char *id, uint64_t rate_bytes_per_second);
void job_control_finish(struct job_control *control);

bool job_control_ends(struct job_control *control); /* the daemon */

/* Without a job: waits so long, or until the daemon ends. */
void job_control_rest(struct job_control *control, unsigned ms);

/* ---- of the job of the calling thread ---- */

/* Whether it is to stop here. */
bool job_control_is_stopped(struct job_control *control);

/* So many bytes were done: waits as long as the rate demands. The same result. */
bool job_control_pace(struct job_control *control, uint64_t bytes);

/* Waits so long, or until the job is to stop. The same result. */
bool job_control_sleep(struct job_control *control, unsigned ms);

#endif
