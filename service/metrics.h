/* SPDX-License-Identifier: Apache-2.0
 *
 * What the daemon counts, from its start on, for GET /metrics. Any thread. Counters guard nothing,
 * so no order is needed.
 */
#ifndef SERVICE_METRICS_H
#define SERVICE_METRICS_H

#include "base/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Outcomes of POST /snapshot-groups. */
enum group_outcome {
    GROUP_OUTCOME_COMMITTED,
    GROUP_OUTCOME_ABORTED, /* an attempt that is kept with its error */
    GROUP_OUTCOME_REFUSED, /* before anything was tried */
    GROUP_OUTCOME_COUNT,
};

/* How jobs ended. */
enum job_outcome { JOB_OUTCOME_DONE, JOB_OUTCOME_FAILED, JOB_OUTCOME_CANCELLED, JOB_OUTCOME_COUNT };

enum { HISTOGRAM_BUCKETS = 13 };

struct histogram {
    const uint64_t *bounds_us;                           /* HISTOGRAM_BUCKETS, ascending */
    atomic_uint_least64_t counts[HISTOGRAM_BUCKETS + 1]; /* the last one: above all bounds */
    atomic_uint_least64_t sum_us;
};

enum { METRICS_OPERATIONS_MAX = 64, METRICS_STATUS_MIN = 100, METRICS_STATUS_MAX = 599 };

struct metrics {
    atomic_uint_least64_t groups[GROUP_OUTCOME_COUNT];
    atomic_uint_least64_t jobs[JOB_OUTCOME_COUNT];
    atomic_uint_least64_t job_bytes;
    struct histogram group_pause, group_duration; /* of committed groups */
    struct histogram redirect;                    /* of merges that took an image's place */
    /* By the position of the route (the last one: none), its name, which is NULL until it is
     * counted, and by status - METRICS_STATUS_MIN. */
    _Atomic(const char *) operations[METRICS_OPERATIONS_MAX + 1];
    atomic_uint_least64_t requests[METRICS_OPERATIONS_MAX + 1]
                                  [METRICS_STATUS_MAX - METRICS_STATUS_MIN + 1];
};

/* NULL and *err (OutOfResources). */
struct metrics *metrics_new(struct err *err);
void metrics_free(struct metrics *metrics);

void metrics_count_group(struct metrics *metrics, enum group_outcome outcome);
void metrics_count_job(struct metrics *metrics, enum job_outcome outcome);
void metrics_count_job_bytes(struct metrics *metrics, uint64_t bytes);
void metrics_count_redirect(struct metrics *metrics, uint64_t locked_us);
void metrics_count_pause(struct metrics *metrics, uint64_t pause_us, uint64_t duration_us);

/* `position`: of the route; METRICS_OPERATIONS_MAX: none. `operation` is kept. */
void metrics_count_request(struct metrics *metrics, size_t position, const char *operation,
                           int status);

#endif
