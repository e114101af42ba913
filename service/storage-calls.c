/* SPDX-License-Identifier: Apache-2.0
 *
 * See storage-calls.h.
 *
 *   storage_call --> queue --> a thread: work --> has_ended --> the call returns what it gave
 *        \                                             \--> nobody waits: the context is freed
 *         +--> after wait_ms: DeadlineExceeded; what is in the queue still leaves it
 *
 * Invariants:
 *   I1  A run is freed by the last one that uses it: its call, or its thread.
 *   I2  At most STORAGE_RUNS_MAX threads work on one storage; a thread takes the first run of the
 *       queue whose storage has fewer.
 *
 * A storage is stuck while a thread has been at work on it for STUCK_MS, or, in a long call, has
 * used no processor time for so long: calls that come then are refused at once.
 */
#include "service/storage-calls.h"

#include "base/cleanup.h"
#include "base/condition.h"
#include "base/monotonic.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    THREADS_MAX = 16,
    STORAGE_RUNS_MAX = 4,
    STUCK_MS = 4000,
    LOOK_MS = 250, /* between two looks at a long call */
};

struct storage_run {
    struct storage_run *next; /* in the queue, or among the running; down to has_ended: lock */
    unsigned users;
    bool is_running;   /* on `clock`'s thread */
    clockid_t clock;   /* the processor time of it */
    uint64_t used_ns;  /* by `clock`, when it was looked at last */
    uint64_t since_us; /* it works, or, if it is long, has got on */
    pthread_cond_t ended;
    bool has_ended; /* what follows belongs to the thread until then */
    struct storage_call call;
    char *storage;
    int result;
    struct err err;
};

struct storage_calls {
    struct block *block;
    pthread_mutex_t lock;
    pthread_cond_t asked; /* there is a run to take, or the end has come */
    struct storage_run *queue, *running;
    unsigned count, queued_count, idle, thread_count; /* lock, like the rest; calls that wait */
    bool is_ending;
    pthread_t threads[THREADS_MAX];
};

/* ---- a run ---- */

static void run_free(struct storage_run *run)
{
    if (run->call.context)
        run->call.free(run->call.context);
    pthread_cond_destroy(&run->ended);
    free(run->storage);
    free(run);
}

static void run_release_locked(struct storage_run *run)
{
    assert(run->users > 0); /* I1 */
    if (--run->users == 0)
        run_free(run);
}

static struct storage_run *run_new(const struct storage_call *call, struct err *err)
{
    struct storage_run *run = calloc(1, sizeof(*run));
    char *storage = strdup(call->storage);
    if (!run || !storage) {
        free(run);
        free(storage);
        err_set(err, ErrOutOfResources, 0, "there is no memory to look at %s", call->what);
        return NULL;
    }
    *run = (struct storage_run){.users = 1, .call = *call, .storage = storage};
    pthread_cond_init(&run->ended, NULL);
    return run;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec used = {0};
    clock_gettime(clock, &used);
    return (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec;
}

/* A thread that waits for storage uses no processor time. */
static void run_look_locked(struct storage_run *run)
{
    if (!run->call.is_long || !run->is_running)
        return;
    uint64_t used_ns = clock_ns(run->clock);
    if (used_ns == run->used_ns)
        return;
    run->used_ns = used_ns;
    run->since_us = clock_monotonic_us();
}

/* ---- threads ---- */

static unsigned storage_count_locked(const struct storage_calls *calls, const char *storage)
{
    unsigned count = 0;
    for (const struct storage_run *run = calls->running; run; run = run->next)
        count += strcmp(run->storage, storage) == 0;
    return count;
}

static bool storage_is_stuck_locked(const struct storage_calls *calls, const char *storage)
{
    const uint64_t now_us = clock_monotonic_us();
    for (struct storage_run *run = calls->running; run; run = run->next) {
        if (strcmp(run->storage, storage) != 0)
            continue;
        run_look_locked(run);
        if (now_us >= run->since_us + STUCK_MS * 1000ULL)
            return true;
    }
    return false;
}

/* The link to the first run that a thread may take; to NULL: there is none. */
static struct storage_run **runs_next_locked(struct storage_calls *calls)
{
    struct storage_run **link = &calls->queue;
    while (*link && storage_count_locked(calls, (*link)->storage) >= STORAGE_RUNS_MAX)
        link = &(*link)->next;
    return link;
}

static void run_begin_locked(struct storage_calls *calls, struct storage_run *run)
{
    run->next = calls->running;
    calls->running = run;
    run->since_us = clock_monotonic_us();
    run->is_running = pthread_getcpuclockid(pthread_self(), &run->clock) == 0;
    run->used_ns = run->is_running ? clock_ns(run->clock) : 0;
    assert(storage_count_locked(calls, run->storage) <= STORAGE_RUNS_MAX); /* I2 */
}

static void run_work_locked(struct storage_calls *calls, struct storage_run *run)
{
    run_begin_locked(calls, run);
    pthread_mutex_unlock(&calls->lock);
    run->result = run->call.work(run->call.context, calls->block, &run->err);
    pthread_mutex_lock(&calls->lock);
    struct storage_run **link = &calls->running;
    while (*link != run)
        link = &(*link)->next;
    *link = run->next;
    run->is_running = false;
    run->has_ended = true;
    pthread_cond_signal(&run->ended);
    if (calls->queue)
        pthread_cond_broadcast(&calls->asked); /* one more of its storage */
}

static void *calls_work(void *arg)
{
    struct storage_calls *calls = arg;
    pthread_setname_np(pthread_self(), "storage-calls");
    LOCK_GUARD(&calls->lock);
    for (;;) {
        struct storage_run **link = runs_next_locked(calls), *run = *link;
        if (!run && calls->is_ending)
            return NULL;
        if (!run) {
            calls->idle++;
            condition_wait(&calls->asked, &calls->lock);
            calls->idle--;
            continue;
        }
        *link = run->next;
        calls->queued_count--;
        run_work_locked(calls, run);
        run_release_locked(run);
    }
}

/* ---- life ---- */

struct storage_calls *storage_calls_new(struct block *block, struct err *err)
{
    struct storage_calls *calls = calloc(1, sizeof(*calls));
    if (!calls) {
        err_set(err, ErrOutOfResources, 0, "there is no memory for calls that wait for storage");
        return NULL;
    }
    calls->block = block;
    pthread_mutex_init(&calls->lock, NULL);
    pthread_cond_init(&calls->asked, NULL);
    return calls;
}

void storage_calls_close(struct storage_calls *calls)
{
    if (!calls)
        return;
    pthread_mutex_lock(&calls->lock);
    calls->is_ending = true;
    pthread_cond_broadcast(&calls->asked);
    pthread_mutex_unlock(&calls->lock);
    for (unsigned i = 0; i < calls->thread_count; i++)
        pthread_join(calls->threads[i], NULL);
    assert(!calls->queue && !calls->running && calls->count == 0);
    pthread_cond_destroy(&calls->asked);
    pthread_mutex_destroy(&calls->lock);
    free(calls);
}

/* ---- a call ---- */

static int stuck_report(const struct storage_run *run, struct err *err)
{
    return err_set(err, ErrDeadlineExceeded, 0, "the storage of %s does not answer",
                   run->call.what);
}

/* Hands the run to a thread, which has a reference then. */
static int run_start_locked(struct storage_calls *calls, struct storage_run *run, struct err *err)
{
    if (storage_is_stuck_locked(calls, run->storage))
        return stuck_report(run, err);
    if (calls->count >= run->call.calls_max)
        return err_set(err, ErrOutOfResources, 0, "%u calls wait for storage; try again",
                       calls->count);
    if (calls->queued_count >= calls->idle && calls->thread_count < THREADS_MAX &&
        pthread_create(&calls->threads[calls->thread_count], NULL, calls_work, calls) == 0)
        calls->thread_count++;
    if (calls->thread_count == 0)
        return err_set(err, ErrOutOfResources, 0, "there is no thread to look at %s; try again",
                       run->call.what);
    struct storage_run **end = &calls->queue;
    while (*end)
        end = &(*end)->next;
    *end = run;
    run->users++;
    run->since_us = clock_monotonic_us();
    calls->queued_count++;
    calls->count++;
    pthread_cond_signal(&calls->asked);
    return 0;
}

/* Waits until the run ends or its time is over. */
static void run_await_locked(struct storage_calls *calls, struct storage_run *run)
{
    const uint64_t begun_us = clock_monotonic_us(), wait_us = run->call.wait_ms * 1000ULL;
    uint64_t until_us = begun_us + wait_us, now_us;
    while (!run->has_ended && (now_us = clock_monotonic_us()) < until_us) {
        uint64_t look_us = now_us + LOOK_MS * 1000ULL;
        if (!run->call.is_long || look_us > until_us)
            look_us = until_us;
        (void)condition_wait_until(&run->ended, &calls->lock, look_us);
        run_look_locked(run);
        if (run->call.is_long)
            until_us = run->since_us + wait_us;
    }
}

/* Takes a run out of the queue, if no thread has taken it: all of them may hang for long. */
static void run_withdraw_locked(struct storage_calls *calls, struct storage_run *run)
{
    struct storage_run **link = &calls->queue;
    while (*link && *link != run)
        link = &(*link)->next;
    if (!*link)
        return;
    *link = run->next;
    calls->queued_count--;
    run_release_locked(run);
}

static int run_take_locked(struct storage_calls *calls, struct storage_run *run,
                           struct storage_call *call, struct err *err)
{
    if (!run->has_ended) {
        run_withdraw_locked(calls, run);
        return stuck_report(run, err);
    }
    call->context = run->call.context;
    run->call.context = NULL;
    if (run->result != 0)
        *err = run->err;
    return run->result;
}

int storage_call(struct storage_calls *calls, struct storage_call *call, struct err *err)
{
    struct storage_run *run = run_new(call, err);
    if (!run)
        return -1; /* the context stays */
    call->context = NULL;
    LOCK_GUARD(&calls->lock);
    int ret = run_start_locked(calls, run, err);
    if (ret == 0) {
        run_await_locked(calls, run);
        calls->count--;
        ret = run_take_locked(calls, run, call, err);
    }
    run_release_locked(run);
    return ret;
}
