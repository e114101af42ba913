/* SPDX-License-Identifier: Apache-2.0
 *
 * How jobs that run are told to stop, how fast they may go, and how many are at work. Each runs on
 * a thread of its own, which asks between pieces of its work; others change what it is told. Any
 * thread.
 *
 *   at work --(no processor time for JOB_STUCK_MS)--> stuck --(its storage answers, and it asks)-->
 *      |                                                ^
 *      +-------(it steps aside)-------------------------+
 *   waits for its turn --(fewer than JOBS_RUNNING_MAX are at work)--> at work
 *
 * So storage that hangs keeps no job of other storage from running, up to JOBS_BEGUN_MAX jobs. One
 * that waits for its rate, or repeats something, is at work, until it steps aside.
 *
 * Invariants:
 *   I1  At most JOBS_RUNNING_MAX runs are at work.
 *   I2  A run that waits for its turn goes before one that has not begun. No assert: it is what
 *       has_room_locked() asks.
 */
#ifndef SERVICE_JOB_CONTROL_H
#define SERVICE_JOB_CONTROL_H

#include "base/err.h"
#include "service/limits.h"
#include "store/row.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum {
    JOB_STUCK_MS = 4000,
    JOB_LEFT_MS = 10000, /* when the daemon ends: longer, since what a job saves then takes time */
};

enum job_run_state { JOB_AT_WORK, JOB_STUCK, JOB_WAITING };

/* A job that runs. */
struct job_run {
    char id[STORE_ID_CHARS + 1];    /* "": none */
    pthread_t thread;               /* that it runs on */
    enum job_run_state state;       /* these five: see above */
    bool is_idle;                   /* it waits for time to pass, not for storage */
    bool has_clock;                 /* else it is never found stuck */
    clockid_t clock;                /* the processor time of its thread */
    uint64_t used_ns, since_us;     /* by that, when it was looked at last; when it last got on */
    bool is_stopped;                /* it is to stop: paused or cancelled */
    bool has_stepped_aside;         /* which was logged */
    uint64_t rate_bytes_per_second; /* 0: no limit */
    uint64_t allowed_us;            /* monotonic: until then its next piece is to wait */
    const struct job_hurry *hurry;  /* while it waits for that; or NULL */
};

/* Somebody may wait for a job that paces itself. Asked now and then, under the lock of this. */
struct job_hurry {
    bool (*is_due)(void *context);
    void *context;
};

struct job_control {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    bool is_ending;      /* the daemon */
    uint64_t wake_count; /* how often a job may have become one that can run */
    struct job_run runs[JOBS_BEGUN_MAX];
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

/* The ids of the jobs that run, stuck or not; how many. */
size_t job_control_list(struct job_control *control, char ids[JOBS_BEGUN_MAX][STORE_ID_CHARS + 1]);

/* After job_control_end(): waits until no job runs. False: those that are left have not got on for
 * JOB_LEFT_MS. */
bool job_control_await_end(struct job_control *control);

/* ---- threads that run jobs ---- */

/* Waits until `running` jobs run, so that idle threads begin one after the other, one more may be
 * at work, and there was a wake that the thread has not seen: *seen, which begins as 0. False: the
 * daemon ends. */
bool job_control_await(struct job_control *control, size_t running, uint64_t *seen);

/* The calling thread runs the job from now on, and none else until job_control_finish(). False: no
 * other one may be at work now. */
bool job_control_begin(struct job_control *control, const char *id, uint64_t rate_bytes_per_second);

/* The job's thread looks at its row after job_control_hear(): it was told to stop before. False: it
 * was told to stop since, so the job has not finished, and the thread looks again. */
void job_control_hear(struct job_control *control);
bool job_control_finish(struct job_control *control);

bool job_control_ends(struct job_control *control); /* the daemon */

/* Without a job: waits so long, or until the daemon ends. */
void job_control_rest(struct job_control *control, unsigned ms);

/* ---- of the job of the calling thread: where it was stuck, these wait for its turn ---- */

/* Whether it is to stop here. */
bool job_control_is_stopped(struct job_control *control);

/* So many bytes were done: waits as long as the rate demands, or until `hurry`, if there is one, is
 * due. The same result. */
bool job_control_pace(struct job_control *control, uint64_t bytes, const struct job_hurry *hurry);

/* Waits so long, or until the job is to stop. The same result. */
bool job_control_sleep(struct job_control *control, unsigned ms);

/* Before a step that failed with *cause, `tries` times before, is tried again. If something was in
 * use, waits until that may have changed: for 10 s at work, then it steps aside, while others run.
 * 0: try again; 1: the job is to stop; -1: it has failed. So it has if another program has an image
 * open for so long, maybe for ever. */
int job_control_await_use(struct job_control *control, unsigned tries, const struct err *cause);

#endif
