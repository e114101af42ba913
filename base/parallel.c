/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool of threads that lives as long as one call. See parallel.h.
 *
 *     positions   0   1   2  ...  T-1 | T ............ next ............ count
 *     run by      workers 0 to T-1    | whoever is free     | nobody yet
 *
 * Worker 0 of parallel_run() is the caller, that of parallel_begin() a thread. Each worker begins
 * with the position of its own number: up to T positions, a thread's system calls are those of one
 * position, which tests rely on. Positions of threads that could not be created are left to the
 * caller.
 *
 * Threads that yield are nice(2): what serves guests comes first, and the caller, who does not
 * yield, makes sure that a group goes on on a busy machine. One that is kept from a processor keeps
 * its locks too, so steps that take locks of guests' requests do not yield.
 */
#include "base/parallel.h"

#include "base/helper-thread.h"
#include "base/log.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

enum { NICENESS = 10, THREADS_A_PROCESSOR = 2, YIELDING_MIN = 4 };

static void parallel_work(struct parallel *parallel, size_t first)
{
    for (size_t i = first; i < parallel->count; i = atomic_fetch_add(&parallel->next, 1))
        parallel->run(parallel->context, i);
}

static void *worker_run(void *arg)
{
    const struct parallel_worker *worker = arg;
    pthread_setname_np(pthread_self(), "parallel");
    if (worker->parallel->is_yielding)
        setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICENESS); /* of this thread */
    log_set_request(worker->parallel->request);
    parallel_work(worker->parallel, worker->first);
    return NULL;
}

/* Creates the threads of the workers from `first` on, as many as can be. */
static void workers_start(struct parallel *parallel, size_t first)
{
    for (parallel->started = first; parallel->started < parallel->threads; parallel->started++) {
        struct parallel_worker *worker = &parallel->workers[parallel->started];
        *worker = (struct parallel_worker){.parallel = parallel, .first = parallel->started};
        if (helper_thread_new(&worker->thread, worker_run, worker) != 0)
            break;
    }
}

/* Steps that use the processor gain nothing by more threads than these. */
static size_t yielding_threads(void)
{
    cpu_set_t set;
    size_t threads = sched_getaffinity(0, sizeof(set), &set) == 0
                         ? (size_t)CPU_COUNT(&set) * THREADS_A_PROCESSOR
                         : PARALLEL_THREADS;
    return threads < YIELDING_MIN ? YIELDING_MIN : threads;
}

static void parallel_start(struct parallel *parallel, size_t count,
                           void (*run)(void *context, size_t position), void *context, size_t first)
{
    parallel->run = run;
    parallel->context = context;
    parallel->count = count;
    parallel->threads = parallel->is_yielding ? yielding_threads() : PARALLEL_THREADS;
    if (parallel->threads > PARALLEL_THREADS)
        parallel->threads = PARALLEL_THREADS;
    if (parallel->threads > count)
        parallel->threads = count;
    parallel->request = log_request();
    atomic_init(&parallel->next, parallel->threads);
    parallel->started = first;
    if (parallel->threads > first)
        workers_start(parallel, first);
}

/* Runs what is left, and waits for the threads of the workers from `first` on. */
static void parallel_finish(struct parallel *parallel, size_t first)
{
    for (size_t i = parallel->started; i < parallel->threads; i++)
        parallel->run(parallel->context, i);
    parallel_work(parallel, atomic_fetch_add(&parallel->next, 1));
    for (size_t i = first; i < parallel->started; i++)
        pthread_join(parallel->workers[i].thread, NULL);
}

static void parallel_run_all(size_t count, void (*run)(void *context, size_t position),
                             void *context, bool is_yielding)
{
    struct parallel parallel = {.is_yielding = is_yielding};
    if (count == 0)
        return;
    parallel_start(&parallel, count, run, context, 1);
    run(context, 0);
    parallel_finish(&parallel, 1);
}

void parallel_run(size_t count, void (*run)(void *context, size_t position), void *context)
{
    parallel_run_all(count, run, context, false);
}

void parallel_run_yielding(size_t count, void (*run)(void *context, size_t position), void *context)
{
    parallel_run_all(count, run, context, true);
}

void parallel_begin(struct parallel *parallel, size_t count,
                    void (*run)(void *context, size_t position), void *context)
{
    parallel->is_yielding = false;
    parallel_start(parallel, count, run, context, 0);
}

void parallel_end(struct parallel *parallel)
{
    parallel_finish(parallel, 0);
}
