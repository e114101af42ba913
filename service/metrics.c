/* SPDX-License-Identifier: Apache-2.0
 *
 * See metrics.h.
 */
#include "service/metrics.h"

#include <assert.h>
#include <stdlib.h>

static const uint64_t pause_bounds_us[HISTOGRAM_BUCKETS] = {
    100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000};
static const uint64_t redirect_bounds_us[HISTOGRAM_BUCKETS] = {
    5, 10, 25, 50, 100, 200, 500, 1000, 2500, 5000, 10000, 100000, 1000000};
static const uint64_t duration_bounds_us[HISTOGRAM_BUCKETS] = {
    2500,   5000,    10000,   25000,   50000,    100000,  250000,
    500000, 1000000, 2500000, 5000000, 10000000, 30000000};

struct metrics *metrics_new(struct err *err)
{
    struct metrics *metrics = calloc(1, sizeof(*metrics));
    if (!metrics) {
        err_set(err, ErrOutOfResources, 0, "there is no memory for counters");
        return NULL;
    }
    metrics->group_pause.bounds_us = pause_bounds_us;
    metrics->group_duration.bounds_us = duration_bounds_us;
    metrics->redirect.bounds_us = redirect_bounds_us;
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    free(metrics);
}

static void count(atomic_uint_least64_t *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

static void histogram_add(struct histogram *histogram, uint64_t value_us)
{
    size_t bucket = 0;
    while (bucket < HISTOGRAM_BUCKETS && value_us > histogram->bounds_us[bucket])
        bucket++;
    count(&histogram->counts[bucket], 1);
    count(&histogram->sum_us, value_us);
}

void metrics_count_group(struct metrics *metrics, enum group_outcome outcome)
{
    count(&metrics->groups[outcome], 1);
}

void metrics_count_job(struct metrics *metrics, enum job_outcome outcome)
{
    count(&metrics->jobs[outcome], 1);
}

void metrics_count_job_bytes(struct metrics *metrics, uint64_t bytes)
{
    count(&metrics->job_bytes, bytes);
}

void metrics_count_redirect(struct metrics *metrics, uint64_t locked_us)
{
    histogram_add(&metrics->redirect, locked_us);
}

void metrics_count_pause(struct metrics *metrics, uint64_t pause_us, uint64_t duration_us)
{
    histogram_add(&metrics->group_pause, pause_us);
    histogram_add(&metrics->group_duration, duration_us);
}

void metrics_count_request(struct metrics *metrics, size_t position, const char *operation,
                           int status)
{
    assert(position <= METRICS_OPERATIONS_MAX);
    assert(status >= METRICS_STATUS_MIN && status <= METRICS_STATUS_MAX);
    atomic_store_explicit(&metrics->operations[position], operation, memory_order_release);
    count(&metrics->requests[position][status - METRICS_STATUS_MIN], 1);
}
