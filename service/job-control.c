/* SPDX-License-Identifier: Apache-2.0
 *
 * See job-control.h.
 */
#include "service/job-control.h"

#include "base/cleanup.h"
#include "base/condition.h"
#include "base/log.h"
#include "base/monotonic.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum {
    LOOK_MS = 250, /* between two looks at jobs at work while another one may wait for them */
    HURRY_MS = 10, /* between two at whether somebody waits for the job */
    USE_TRIES = 500,
    USE_WAIT_MS = 20,
    USE_ASIDE_MS = 250,
};

void job_control_init(struct job_control *control)
{
    *control = (struct job_control){.wake_count = 1};
    pthread_mutex_init(&control->lock, NULL);
    pthread_cond_init(&control->changed, NULL);
}

void job_control_clear(struct job_control *control)
{
    for (size_t i = 0; i < JOBS_BEGUN_MAX; i++)
        assert(!*control->runs[i].id);
    pthread_cond_destroy(&control->changed);
    pthread_mutex_destroy(&control->lock);
}

void job_control_wake(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    control->wake_count++;
    pthread_cond_broadcast(&control->changed);
}

void job_control_end(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    control->is_ending = true;
    pthread_cond_broadcast(&control->changed);
}

/* The run of that job, or NULL. */
static struct job_run *run_find_locked(struct job_control *control, const char *id)
{
    for (size_t i = 0; i < JOBS_BEGUN_MAX; i++)
        if (strcmp(control->runs[i].id, id) == 0)
            return &control->runs[i];
    return NULL;
}

bool job_control_stop(struct job_control *control, const char *id)
{
    LOCK_GUARD(&control->lock);
    struct job_run *run = run_find_locked(control, id);
    if (!run)
        return false;
    run->is_stopped = true;
    pthread_cond_broadcast(&control->changed);
    return true;
}

void job_control_set_rate(struct job_control *control, const char *id,
                          uint64_t rate_bytes_per_second)
{
    LOCK_GUARD(&control->lock);
    struct job_run *run = run_find_locked(control, id);
    if (!run)
        return;
    run->rate_bytes_per_second = rate_bytes_per_second;
    run->allowed_us = 0;
    pthread_cond_broadcast(&control->changed);
}

size_t job_control_list(struct job_control *control, char ids[JOBS_BEGUN_MAX][STORE_ID_CHARS + 1])
{
    LOCK_GUARD(&control->lock);
    size_t count = 0;
    for (size_t i = 0; i < JOBS_BEGUN_MAX; i++)
        if (*control->runs[i].id)
            memcpy(ids[count++], control->runs[i].id, sizeof(control->runs[i].id));
    return count;
}

/* ---- who is at work ---- */

static size_t runs_count_locked(const struct job_control *control)
{
    size_t count = 0;
    for (size_t i = 0; i < JOBS_BEGUN_MAX; i++)
        count += *control->runs[i].id != 0;
    return count;
}

static size_t runs_count_in_locked(const struct job_control *control, enum job_run_state state)
{
    size_t count = 0;
    for (size_t i = 0; i < JOBS_BEGUN_MAX; i++)
        count += *control->runs[i].id && control->runs[i].state == state;
    return count;
}

static bool has_room_locked(const struct job_control *control)
{
    return !control->is_ending && runs_count_locked(control) < JOBS_BEGUN_MAX &&
           runs_count_in_locked(control, JOB_AT_WORK) + runs_count_in_locked(control, JOB_WAITING) <
               JOBS_RUNNING_MAX; /* I2 */
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec used = {0};
    clock_gettime(clock, &used);
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* For how long the run has not got on: a thread that waits for storage uses no processor time. */
static uint64_t run_look_locked(struct job_run *run)
{
    const uint64_t now_us = clock_monotonic_us();
    const uint64_t used_ns = run->has_clock ? clock_ns(run->clock) : 0;
    if (run->is_idle || !run->has_clock || used_ns != run->used_ns)
        run->since_us = now_us;
    run->used_ns = used_ns;
    return now_us - run->since_us;
}

static void runs_look_locked(struct job_control *control)
{
    for (size_t i = 0; i < JOBS_BEGUN_MAX; i++) {
        struct job_run *run = &control->runs[i];
        if (!*run->id || run->state != JOB_AT_WORK || run_look_locked(run) < JOB_STUCK_MS * 1000ULL)
            continue;
        run->state = JOB_STUCK;
        log_warning("job %s waits for storage that does not answer; others run meanwhile", run->id);
        control->wake_count++;
        pthread_cond_broadcast(&control->changed);
    }
}

static void wait_locked(struct job_control *control, uint64_t until_us)
{
    (void)condition_wait_until(&control->changed, &control->lock, until_us);
}

static void look_wait_locked(struct job_control *control, unsigned ms)
{
    wait_locked(control, clock_monotonic_us() + ms * 1000ULL);
    runs_look_locked(control);
}

bool job_control_await_end(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    for (;;) {
        bool is_left = true;
        for (size_t i = 0; i < JOBS_BEGUN_MAX; i++)
            is_left &= !*control->runs[i].id ||
                       run_look_locked(&control->runs[i]) >= JOB_LEFT_MS * 1000ULL;
        if (is_left)
            return runs_count_locked(control) == 0;
        look_wait_locked(control, LOOK_MS);
    }
}

/* ---- threads that run jobs ---- */

bool job_control_await(struct job_control *control, size_t running, uint64_t *seen)
{
    LOCK_GUARD(&control->lock);
    while (!control->is_ending) {
        bool is_next = runs_count_locked(control) >= running;
        if (is_next && has_room_locked(control) && control->wake_count != *seen)
            break;
        if (is_next && !has_room_locked(control))
            look_wait_locked(control, LOOK_MS);
        else
            condition_wait(&control->changed, &control->lock);
    }
    *seen = control->wake_count;
    return !control->is_ending;
}

bool job_control_begin(struct job_control *control, const char *id, uint64_t rate_bytes_per_second)
{
    LOCK_GUARD(&control->lock);
    assert(*id && !run_find_locked(control, id));
    if (!has_room_locked(control))
        return false;
    struct job_run *run = run_find_locked(control, "");
    *run = (struct job_run){.thread = pthread_self(),
                            .since_us = clock_monotonic_us(),
                            .rate_bytes_per_second = rate_bytes_per_second};
    run->has_clock = pthread_getcpuclockid(pthread_self(), &run->clock) == 0;
    snprintf(run->id, sizeof(run->id), "%s", id);
    assert(runs_count_in_locked(control, JOB_AT_WORK) <= JOBS_RUNNING_MAX); /* I1 */
    pthread_cond_broadcast(&control->changed);
    return true;
}

/* That of the calling thread. */
static struct job_run *run_own_locked(struct job_control *control)
{
    size_t i = 0;
    while (!*control->runs[i].id || !pthread_equal(control->runs[i].thread, pthread_self())) {
        i++;
        assert(i < JOBS_BEGUN_MAX);
    }
    return &control->runs[i];
}

void job_control_hear(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    run_own_locked(control)->is_stopped = false;
}

/* Another thread may wait for what the job kept from running. */
bool job_control_finish(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    struct job_run *run = run_own_locked(control);
    if (run->is_stopped)
        return false;
    *run->id = 0;
    control->wake_count++;
    pthread_cond_broadcast(&control->changed);
    return true;
}

bool job_control_ends(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    return control->is_ending;
}

void job_control_rest(struct job_control *control, unsigned ms)
{
    LOCK_GUARD(&control->lock);
    uint64_t until_us = clock_monotonic_us() + (uint64_t)ms * 1000;
    while (!control->is_ending && clock_monotonic_us() < until_us)
        wait_locked(control, until_us);
}

/* ---- the calling thread's job ---- */

static bool is_stopped_locked(const struct job_control *control, const struct job_run *run)
{
    return run->is_stopped || control->is_ending;
}

/* Whether it is not to wait any more. */
static bool is_over_locked(const struct job_control *control, const struct job_run *run)
{
    return is_stopped_locked(control, run) ||
           (run->hurry && run->hurry->is_due(run->hurry->context));
}

/* Until the job may be at work, if it was found stuck. */
static void run_await_turn_locked(struct job_control *control, struct job_run *run)
{
    if (run->state == JOB_AT_WORK)
        return;
    assert(run->state == JOB_STUCK);
    run->state = JOB_WAITING;
    while (!is_over_locked(control, run) &&
           runs_count_in_locked(control, JOB_AT_WORK) >= JOBS_RUNNING_MAX)
        look_wait_locked(control, run->hurry ? HURRY_MS : LOOK_MS);
    bool has_turn = runs_count_in_locked(control, JOB_AT_WORK) < JOBS_RUNNING_MAX; /* I1 */
    run->state = has_turn ? JOB_AT_WORK : JOB_STUCK;
    run->since_us = clock_monotonic_us();
}

/* Waits until then, or until the job is to stop. Whether it is. */
static bool run_wait_locked(struct job_control *control, struct job_run *run,
                            const uint64_t *until_us)
{
    run_await_turn_locked(control, run);
    run->is_idle = true;
    for (uint64_t now_us;
         !is_over_locked(control, run) && (now_us = clock_monotonic_us()) < *until_us;) {
        bool is_whole = !run->hurry || *until_us - now_us < HURRY_MS * 1000ULL;
        wait_locked(control, is_whole ? *until_us : now_us + HURRY_MS * 1000ULL);
    }
    run->is_idle = false;
    run->since_us = clock_monotonic_us();
    return is_stopped_locked(control, run);
}

bool job_control_is_stopped(struct job_control *control)
{
    const uint64_t now = 0;
    LOCK_GUARD(&control->lock);
    return run_wait_locked(control, run_own_locked(control), &now);
}

bool job_control_pace(struct job_control *control, uint64_t bytes, const struct job_hurry *hurry)
{
    LOCK_GUARD(&control->lock);
    struct job_run *run = run_own_locked(control);
    uint64_t now_us = clock_monotonic_us();
    if (run->allowed_us < now_us)
        run->allowed_us = now_us;
    if (run->rate_bytes_per_second)
        run->allowed_us += bytes * 1000000 / run->rate_bytes_per_second;
    run->hurry = hurry;
    bool is_stopped = run_wait_locked(control, run, &run->allowed_us);
    run->hurry = NULL;
    return is_stopped;
}

bool job_control_sleep(struct job_control *control, unsigned ms)
{
    LOCK_GUARD(&control->lock);
    const uint64_t until_us = clock_monotonic_us() + (uint64_t)ms * 1000;
    return run_wait_locked(control, run_own_locked(control), &until_us);
}

/* As job_control_sleep(), while others run: before it repeats what may take long to become
 * possible. */
static bool run_step_aside(struct job_control *control, const struct err *cause)
{
    LOCK_GUARD(&control->lock);
    struct job_run *run = run_own_locked(control);
    if (!run->has_stepped_aside)
        log_warning("job %s steps aside, since %s; it is tried again", run->id, cause->message);
    run->has_stepped_aside = true;
    run->state = JOB_STUCK;
    run->is_idle = true;
    control->wake_count++;
    pthread_cond_broadcast(&control->changed);
    const uint64_t until_us = clock_monotonic_us() + USE_ASIDE_MS * 1000u;
    while (!is_stopped_locked(control, run) && clock_monotonic_us() < until_us)
        wait_locked(control, until_us);
    run_await_turn_locked(control, run);
    run->is_idle = false;
    return is_stopped_locked(control, run);
}

int job_control_await_use(struct job_control *control, unsigned tries, const struct err *cause)
{
    bool is_long = tries >= USE_TRIES;
    if (!err_is_in_use(cause) || (is_long && cause->code == ErrImageInUse))
        return -1;
    return is_long ? run_step_aside(control, cause) : job_control_sleep(control, USE_WAIT_MS);
}
