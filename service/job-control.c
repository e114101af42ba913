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
    *control = (struct job_control){.is_wanted = true};
    pthread_mutex_init(&control->lock, NULL);
    pthread_cond_init(&control->changed, NULL);
}

void job_control_clear(struct job_control *control)
{
    assert(!*control->current);
    pthread_cond_destroy(&control->changed);
    pthread_mutex_destroy(&control->lock);
}

void job_control_wake(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    control->is_wanted = true;
    pthread_cond_broadcast(&control->changed);
}

void job_control_end(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    control->is_ending = true;
    pthread_cond_broadcast(&control->changed);
}

void job_control_stop(struct job_control *control, const char *id)
{
    LOCK_GUARD(&control->lock);
    if (strcmp(control->current, id) != 0)
        return;
    control->is_stopped = true;
    pthread_cond_broadcast(&control->changed);
}

void job_control_set_rate(struct job_control *control, const char *id,
                          uint64_t rate_bytes_per_second)
{
    LOCK_GUARD(&control->lock);
    if (strcmp(control->current, id) != 0)
        return;
    control->rate_bytes_per_second = rate_bytes_per_second;
    control->allowed_us = 0;
    pthread_cond_broadcast(&control->changed);
}

bool job_control_await(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    while (!control->is_wanted && !control->is_ending)
        pthread_cond_wait(&control->changed, &control->lock);
    control->is_wanted = false;
    return !control->is_ending;
}

void job_control_begin(struct job_control *control, const char *id, uint64_t rate_bytes_per_second)
{
    LOCK_GUARD(&control->lock);
    assert(!*control->current);
    snprintf(control->current, sizeof(control->current), "%s", id);
    control->is_stopped = false;
    control->rate_bytes_per_second = rate_bytes_per_second;
    control->allowed_us = 0;
}

void job_control_finish(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    *control->current = 0;
}

bool job_control_ends(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    return control->is_ending;
}

static bool is_stopped_locked(const struct job_control *control)
{
    return control->is_stopped || control->is_ending;
}

bool job_control_is_stopped(struct job_control *control)
{
    LOCK_GUARD(&control->lock);
    return is_stopped_locked(control);
}

static void wait_locked(struct job_control *control, uint64_t until_us)
{
    const struct timespec until = {.tv_sec = (time_t)(until_us / 1000000),
                                   .tv_nsec = (long)(until_us % 1000000 * 1000)};
    pthread_cond_clockwait(&control->changed, &control->lock, CLOCK_MONOTONIC, &until);
}

bool job_control_pace(struct job_control *control, uint64_t bytes)
{
    LOCK_GUARD(&control->lock);
    uint64_t now_us = clock_monotonic_us();
    if (control->allowed_us < now_us)
        control->allowed_us = now_us;
    if (control->rate_bytes_per_second)
        control->allowed_us += bytes * 1000000 / control->rate_bytes_per_second;
    while (!is_stopped_locked(control) && clock_monotonic_us() < control->allowed_us)
        wait_locked(control, control->allowed_us);
    return is_stopped_locked(control);
}

bool job_control_sleep(struct job_control *control, unsigned ms)
{
    LOCK_GUARD(&control->lock);
    uint64_t until_us = clock_monotonic_us() + (uint64_t)ms * 1000;
    while (!is_stopped_locked(control) && clock_monotonic_us() < until_us)
        wait_locked(control, until_us);
    return is_stopped_locked(control);
}
