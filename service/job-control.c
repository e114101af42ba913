/* SPDX-License-Identifier: Apache-2.0
 *
 * See job-control.h.
 */
#include "service/job-control.h"

#include "base/cleanup.h"
#include "service/clock.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void job_control_init(struct job_control *control)
{
    *control = (struct job_control){.wake_count = 1};
    pthread_mutex_init(&control->lock, NULL);
    pthread_cond_init(&control->changed, NULL);
}

void job_control_clear(struct job_control *control)
{
    for (size_t i = 0; i < JOBS_RUNNING_MAX; i++)
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
    for (size_t i = 0; i < JOBS_RUNNING_MAX; i++)
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

size_t job_control_list(struct job_control *control, char ids[JOBS_RUNNING_MAX][STORE_ID_CHARS + 1])
{
    LOCK_GUARD(&control->lock);
    size_t count = 0;
    for (size_t i = 0; i < JOBS_RUNNING_MAX; i++)
        if (*control->runs[i].id)
            memcpy(ids[count++], control->runs[i].id, sizeof(control->runs[i].id));
    return count;
}

/* ---- threads that run jobs ---- */

static size_t runs_count_locked(const struct job_control *control)
{
    size_t count = 0;
    for (size_t i = 0; i < JOBS_RUNNING_MAX; i++)
        count += *control->runs[i].id != 0;
    return count;
}

bool job_control_await(struct job_control *control, size_t running, uint64_t *seen)
{
    LOCK_GUARD(&control->lock);
    while ((control->wake_count == *seen || runs_count_locked(control) < running) &&
           !control->is_ending)
        pthread_cond_wait(&control->changed, &control->lock);
    *seen = control->wake_count;
    return !control->is_ending;
}

void job_control_begin(struct job_control *control, const char *id, uint64_t rate_bytes_per_second)
{
    LOCK_GUARD(&control->lock);
    assert(*id && !run_find_locked(control, id));
    struct job_run *run = run_find_locked(control, "");
    assert(run); /* as many as there are threads */
    *run =
        (struct job_run){.thread = pthread_self(), .rate_bytes_per_second = rate_bytes_per_second};
    snprintf(run->id, sizeof(run->id), "%s", id);
    pthread_cond_broadcast(&control->changed);
}

/* That of the calling thread. */
static struct job_run *run_own_locked(struct job_control *control)
{
    size_t i = 0;
    while (!*control->runs[i].id || !pthread_equal(control->runs[i].thread, pthread_self())) {
        i++;
        assert(i < JOBS_RUNNING_MAX);
    }
    return &control->runs[i];
}

/* Another thread may wait for what the job kept from running. */
void job_control_finish(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    *run_own_locked(control)->id = 0;
    control->wake_count++;
    pthread_cond_broadcast(&control->changed);
}

bool job_control_ends(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    return control->is_ending;
}

static void wait_locked(struct job_control *control, uint64_t until_us)
{
    const struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                                   .tv_nsec = (long)(until_us % 1000000 * 1000)};
    pthread_cond_clockwait(&control->changed, &control->lock, CLOCK_MONOTONIC, &until);
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

bool job_control_is_stopped(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    return is_stopped_locked(control, run_own_locked(control));
}

bool job_control_pace(struct job_control *control, uint64_t bytes)
{
    LOCK_GUARD(&control->lock);
    struct job_run *run = run_own_locked(control);
    uint64_t now_us = clock_monotonic_us();
    if (run->allowed_us < now_us)
        run->allowed_us = now_us;
    if (run->rate_bytes_per_second)
        run->allowed_us += bytes * 1000000 / run->rate_bytes_per_second;
    while (!is_stopped_locked(control, run) && clock_monotonic_us() < run->allowed_us)
        wait_locked(control, run->allowed_us);
    return is_stopped_locked(control, run);
}

bool job_control_sleep(struct job_control *control, unsigned ms)
{
    LOCK_GUARD(&control->lock);
    const struct job_run *run = run_own_locked(control);
    uint64_t until_us = clock_monotonic_us() + (uint64_t)ms * 1000;
    while (!is_stopped_locked(control, run) && clock_monotonic_us() < until_us)
        wait_locked(control, until_us);
    return is_stopped_locked(control, run);
}
