/* SPDX-License-Identifier: Apache-2.0
 *
 * parallel_run(), and parallel_begin() with parallel_end(), run each position once, however many
 * threads can be created (-Wl,--wrap, tests/CMakeLists.txt), and with PARALLEL_THREADS threads at
 * most; one position needs no thread.
 */
#include "base/parallel.h"
#include "tests/lib/testlib.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum { POSITIONS = 1000 };

static atomic_int runs[POSITIONS];
static int created, creatable; /* threads */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg)
{
    if (created == creatable)
        return EAGAIN;
    created++;
    return __real_pthread_create(thread, attributes, run, arg);
}

static void step(void *context, size_t position)
{
    assert_ptr_equal(context, runs);
    atomic_fetch_add(&runs[position], 1);
}

static void each_must_run_once(size_t count, int creatable_now, int expected_threads)
{
    for (size_t i = 0; i < POSITIONS; i++)
        atomic_store(&runs[i], 0);
    created = 0;
    creatable = creatable_now;
    parallel_run(count, step, runs);
    for (size_t i = 0; i < POSITIONS; i++)
        assert_int_equal(atomic_load(&runs[i]), i < count);
    assert_int_equal(created, expected_threads);
}

static void each_must_run_once_between(size_t count, int creatable_now, int expected_threads)
{
    struct parallel parallel;
    for (size_t i = 0; i < POSITIONS; i++)
        atomic_store(&runs[i], 0);
    created = 0;
    creatable = creatable_now;
    parallel_begin(&parallel, count, step, runs);
    parallel_end(&parallel);
    for (size_t i = 0; i < POSITIONS; i++)
        assert_int_equal(atomic_load(&runs[i]), i < count);
    assert_int_equal(created, expected_threads);
}

static const struct fixture fixture;

TEST(threads_are_bounded)
{
    each_must_run_once(0, POSITIONS, 0);
    each_must_run_once(1, POSITIONS, 0);
    each_must_run_once(2, POSITIONS, 1);
    each_must_run_once(16, POSITIONS, 15);
    each_must_run_once(17, POSITIONS, 15);
    each_must_run_once(POSITIONS, POSITIONS, 15);
}

TEST(the_caller_does_what_has_no_thread)
{
    for (int creatable_now = 0; creatable_now < 16; creatable_now++)
        each_must_run_once(POSITIONS, creatable_now, creatable_now < 15 ? creatable_now : 15);
    each_must_run_once(2, 0, 0);
    each_must_run_once(16, 3, 3);
}

TEST(a_beginning_needs_a_thread_each)
{
    each_must_run_once_between(0, POSITIONS, 0);
    each_must_run_once_between(1, POSITIONS, 1);
    each_must_run_once_between(16, POSITIONS, 16);
    each_must_run_once_between(POSITIONS, POSITIONS, 16);
    for (int creatable_now = 0; creatable_now < 16; creatable_now++)
        each_must_run_once_between(POSITIONS, creatable_now, creatable_now);
    each_must_run_once_between(1, 0, 0);
}
