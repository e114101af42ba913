/* SPDX-License-Identifier: Apache-2.0
 *
 * job-control.h: a job that waits for storage that does not answer lets another one begin, up to
 * begun_jobs; once it gets on it waits for its turn, before those that have not begun, unless
 * it is told to stop. One that waits for its rate is at work. Neither waits once somebody waits for
 * it. A thread is blocked as a job's is by its storage; only the time since when is made up.
 */
#include "tests/lib/testlib.h"

#include "service/job-control.h"

#include <semaphore.h>
#include <stdio.h>
#include <string.h>

static struct job_control control;

/* A job, on a thread of its own, whose storage does not answer until `go` is posted. */
struct hung {
    const char *id;
    unsigned wait_ms; /* it waits so long first */
    sem_t begun, go, paced, leave;
    pthread_t thread;
    bool has_begun, is_stopped;
    const struct job_hurry *hurry;
};

static void *hung_run(void *arg)
{
    struct hung *hung = arg;
    hung->has_begun = job_control_begin(&control, hung->id, 0);
    sem_post(&hung->begun);
    if (!hung->has_begun)
        return NULL;
    if (hung->wait_ms)
        job_control_sleep(&control, hung->wait_ms);
    sem_wait(&hung->go);
    hung->is_stopped = job_control_pace(&control, 1, hung->hurry);
    sem_post(&hung->paced);
    sem_wait(&hung->leave);
    job_control_hear(&control);
    assert_true(job_control_finish(&control));
    return NULL;
}

static struct job_run *run_find(const char *id)
{
    for (size_t i = 0; i < JOBS_BEGUN_MAX; i++)
        if (strcmp(control.runs[i].id, id) == 0)
            return &control.runs[i];
    fail_msg("job '%s' does not run", id);
    return NULL;
}

static bool hung_begin(struct hung *hung, const char *id, unsigned wait_ms)
{
    *hung = (struct hung){.id = id, .wait_ms = wait_ms};
    sem_t *const all[] = {&hung->begun, &hung->go, &hung->paced, &hung->leave};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(sem_init(all[i], 0, 0), 0);
    assert_int_equal(pthread_create(&hung->thread, NULL, hung_run, hung), 0);
    sem_wait(&hung->begun);
    if (!hung->has_begun) {
        pthread_join(hung->thread, NULL);
        return false;
    }
    LOCK_GUARD(&control.lock);
    run_find(id)->has_clock = false; /* not found stuck until it ages, however slow the test is */
    return true;
}

static void hung_end(struct hung *hung)
{
    sem_post(&hung->go);
    sem_post(&hung->leave);
    pthread_join(hung->thread, NULL);
}

static enum job_run_state state_of(const char *id)
{
    LOCK_GUARD(&control.lock);
    return run_find(id)->state;
}

/* As if it had been so for ever. */
static void age(const char *id)
{
    LOCK_GUARD(&control.lock);
    struct timespec used;
    struct job_run *run = run_find(id);
    clock_gettime(run->clock, &used);
    run->used_ns = (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
    run->since_us = 0;
    run->has_clock = true;
}

/* A thread that has no job looks, while as many are at work as may be. */
static void *look(void *arg)
{
    (void)arg;
    uint64_t seen = 0;
    (void)job_control_await(&control, 0, &seen);
    return NULL;
}

/* Until the job is found stuck: it may still be on its way to where it blocks. */
static pthread_t make_stuck(const char *id)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    pthread_t looker;
    assert_int_equal(pthread_create(&looker, NULL, look, NULL), 0);
    while (state_of(id) != JOB_STUCK) {
        age(id);
        nanosleep(&pause, NULL);
    }
    return looker;
}

static void await_state(const char *id, enum job_run_state state)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    while (state_of(id) != state)
        nanosleep(&pause, NULL);
}

static void test_stuck(void **state)
{
    (void)state;
    struct hung a, b, c, late;
    job_control_init(&control);
    assert_true(hung_begin(&a, "a", 0) && hung_begin(&b, "b", 0));
    assert_false(hung_begin(&late, "late", 0));
    pthread_join(make_stuck("a"), NULL);
    assert_true(hung_begin(&c, "c", 0));
    assert_false(hung_begin(&late, "late", 0));

    sem_post(&a.go);
    await_state("a", JOB_WAITING);
    hung_end(&c);
    sem_wait(&a.paced);
    assert_false(a.is_stopped);
    assert_int_equal(state_of("a"), JOB_AT_WORK);
    assert_false(hung_begin(&late, "late", 0));
    hung_end(&a);
    hung_end(&b);
    job_control_clear(&control);
}

static void test_stopped(void **state)
{
    (void)state;
    struct hung a, b, c;
    job_control_init(&control);
    assert_true(hung_begin(&a, "a", 0) && hung_begin(&b, "b", 0));
    pthread_join(make_stuck("a"), NULL);
    assert_true(hung_begin(&c, "c", 0));
    sem_post(&a.go);
    await_state("a", JOB_WAITING);
    assert_true(job_control_stop(&control, "a"));
    sem_wait(&a.paced);
    assert_true(a.is_stopped);
    hung_end(&a);
    hung_end(&b);
    hung_end(&c);
    job_control_clear(&control);
}

static void test_bound(void **state)
{
    (void)state;
    struct hung jobs[JOBS_BEGUN_MAX + 1];
    char ids[JOBS_BEGUN_MAX + 1][4];
    pthread_t looker = pthread_self();
    job_control_init(&control);
    for (size_t i = 0; i < JOBS_BEGUN_MAX; i++) {
        snprintf(ids[i], sizeof(ids[i]), "%zu", i);
        assert_true(hung_begin(&jobs[i], ids[i], 0));
        if (i + 1 >= JOBS_RUNNING_MAX)
            looker = make_stuck(ids[i + 1 - JOBS_RUNNING_MAX]);
        if (i + 1 >= JOBS_RUNNING_MAX && i + 1 < JOBS_BEGUN_MAX)
            pthread_join(looker, NULL); /* it has found room */
    }
    assert_false(hung_begin(&jobs[JOBS_BEGUN_MAX], "more", 0));
    for (size_t i = 0; i < JOBS_BEGUN_MAX; i++)
        hung_end(&jobs[i]);
    pthread_join(looker, NULL);
    job_control_clear(&control);
}

static void test_idle(void **state)
{
    (void)state;
    struct hung idle, b;
    job_control_init(&control);
    assert_true(hung_begin(&idle, "idle", 3600000) && hung_begin(&b, "b", 0));
    for (bool is_idle = false; !is_idle;) {
        LOCK_GUARD(&control.lock);
        is_idle = run_find("idle")->is_idle;
    }
    age("idle");
    pthread_join(make_stuck("b"), NULL);
    assert_int_equal(state_of("idle"), JOB_AT_WORK);
    job_control_end(&control);
    hung_end(&idle);
    hung_end(&b);
    assert_true(job_control_await_end(&control));
    job_control_clear(&control);
}

/* So many more times it is not due. */
static bool is_due_later(void *context)
{
    unsigned *left = context;
    return (*left)-- == 0;
}

static void test_hurry(void **state)
{
    (void)state;
    struct hung a, b, c;
    unsigned left = 3;
    const struct job_hurry hurry = {is_due_later, &left};
    job_control_init(&control);
    assert_true(job_control_begin(&control, "slow", 1));
    assert_false(job_control_pace(&control, 1ULL << 30, &hurry)); /* instead of 34 years */
    assert_true(job_control_finish(&control));
    left = 3;
    assert_true(hung_begin(&a, "a", 0) && hung_begin(&b, "b", 0));
    pthread_t looker = make_stuck("a");
    pthread_join(looker, NULL);
    assert_true(hung_begin(&c, "c", 0));
    a.hurry = &hurry;
    sem_post(&a.go);
    sem_wait(&a.paced); /* though it has no turn */
    assert_false(a.is_stopped);
    assert_int_equal(state_of("a"), JOB_STUCK);
    hung_end(&a);
    hung_end(&b);
    hung_end(&c);
    job_control_clear(&control);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stuck), cmocka_unit_test(test_stopped), cmocka_unit_test(test_bound),
        cmocka_unit_test(test_idle),  cmocka_unit_test(test_hurry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
