/* SPDX-License-Identifier: Apache-2.0
 *
 * How the job that runs is told to stop, and how fast it may go. Its thread asks between pieces of
 * its work; others change what it is told. Any thread.
 */
#ifndef SERVICE_JOB_CONTROL_H
#define SERVICE_JOB_CONTROL_H

#include "store/row.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct job_control {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    bool is_ending;                   /* the daemon */
    bool is_wanted;                   /* a job may have been queued */
    char current[STORE_ID_CHARS + 1]; /* the job that runs; "": none */
    bool is_stopped;                  /* it is to stop: paused or cancelled */
    uint64_t rate_bytes_per_second;   /* of it; 0: no limit */
    uint64_t allowed_us;              /* monotonic: until then its next piece is to wait */
};

void job_control_init(struct job_control *control);
void job_control_clear(struct job_control *control);

/* ---- others ---- */

void job_control_wake(struct job_control *control); /* a job was queued */
void job_control_end(struct job_control *control);  /* the running job stops, and no other begins */

/* Only if it is the job that runs. */
void job_control_stop(struct job_control *control, const char *id);
void job_control_set_rate(struct job_control *control, const char *id,
                          uint64_t rate_bytes_per_second);

/* ---- the thread that runs jobs ---- */

/* Waits until a job may have been queued. False: the daemon ends. */
bool job_control_await(struct job_control *control);

void job_control_begin(struct job_control *control, const char *id, uint64_t rate_bytes_per_second);
void job_control_finish(struct job_control *control);

bool job_control_ends(struct job_control *control); /* the daemon */

/* Whether the job is to stop here. */
bool job_control_is_stopped(struct job_control *control);

/* So many bytes were done: waits as long as the rate demands. The same result. */
bool job_control_pace(struct job_control *control, uint64_t bytes);

/* Waits so long, or until the job is to stop. The same result. */
bool job_control_sleep(struct job_control *control, unsigned ms);

#endif
