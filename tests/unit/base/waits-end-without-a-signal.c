/* SPDX-License-Identifier: Apache-2.0
 *
 * condition.h: a wait that nobody ends is over by itself, at most at the given time; one that is
 * signalled is over at once.
 */
#include "base/condition.h"
#include "base/monotonic.h"
#include "tests/lib/testlib.h"

#include <sched.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static bool is_waiting, is_signalled;

static const struct fixture fixture;

#define HOUR_US (3600ULL * 1000 * 1000)

TEST(it_is_over_by_itself)
{
    (void)state;
    LOCK_GUARD(&lock);
    condition_wait(&condition, &lock);
    assert_true(condition_wait_until(&condition, &lock, clock_monotonic_us() + HOUR_US));
}

TEST(it_is_over_at_the_given_time)
{
    (void)state;
    LOCK_GUARD(&lock);
    const uint64_t until_us = clock_monotonic_us() + 20000;
    while (condition_wait_until(&condition, &lock, until_us))
        continue;
    assert_true(clock_monotonic_us() >= until_us);
    assert_false(condition_wait_until(&condition, &lock, until_us));
}

static void *waiter(void *arg)
{
    (void)arg;
    LOCK_GUARD(&lock);
    is_waiting = true;
    while (!is_signalled)
        condition_wait(&condition, &lock);
    is_waiting = false;
    return NULL;
}

TEST(it_is_over_with_a_signal)
{
    pthread_t thread;
    (void)state;
    assert_int_equal(0, pthread_create(&thread, NULL, waiter, NULL));
    for (bool has_begun = false; !has_begun; sched_yield()) {
        LOCK_GUARD(&lock);
        has_begun = is_waiting;
    }
    pthread_mutex_lock(&lock);
    is_signalled = true;
    pthread_mutex_unlock(&lock);
    pthread_cond_signal(&condition);
    pthread_join(thread, NULL);
    assert_false(is_waiting);
}
