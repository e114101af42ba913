/* SPDX-License-Identifier: Apache-2.0
 *
 * See condition.h.
 */
#include "base/condition.h"

#include "base/monotonic.h"

#include <time.h>

#define WAIT_US 1000000ULL

bool condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t until_us)
{
    const uint64_t soon_us = clock_monotonic_us() + WAIT_US;
    const struct timespec until = clock_monotonic_at(soon_us < until_us ? soon_us : until_us);
    pthread_cond_clockwait(condition, lock, CLOCK_MONOTONIC, &until);
    return clock_monotonic_us() < until_us;
}

void condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock)
{
    (void)condition_wait_until(condition, lock, UINT64_MAX);
}
