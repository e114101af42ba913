/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool of threads that lives as long as one call. See parallel.h.
 *
 *     positions   0   1   2  ...  T-1 | T ............ next ............ count
 *     run by      workers 0 to T-1    | whoever is free     | nobody yet
 *
 * Worker 0 of parallel_run() is the caller, that of parallel_begin() a thread. Each worker creates
 * the thread of the next one, so that nobody waits for all of them to be created, and begins with
 * the position of its own number: up to T positions, a thread's system calls are those of one
 * position and the next thread, which tests rely on. Positions of threads that could not be created
 * are left to the caller.
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

static void *worker_run(void *arg);

/* Worker `number` gets a thread, if there is one to be had. */
static void worker_start(struct parallel *parallel, size_t number)
{
    struct parallel_worker *worker = &parallel->workers[number];
    *worker = (struct parallel_worker){.parallel = parallel, .number = number};
    worker->has_thread = helper_thread_new(&worker->thread, worker_run, worker) == 0;
}

static void *worker_run(void *arg)
{
    const struct parallel_worker *worker = arg;
    struct parallel *parallel = worker->parallel;
    pthread_setname_np(pthread_self(), "parallel");
    log_set_request(parallel->request);
    if (worker->number + 1 < parallel->threads)
        worker_start(parallel, worker->number + 1);
    if (parallel->is_yielding)
        setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + NICENESS); /* of this thread */
    parallel_work(parallel, worker->number);
    return NULL;
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
    if (first < parallel->threads)
        worker_start(parallel, first);
}

/* Runs what is left, and waits for the threads of the workers from `first` on: each one was started
 * by the one before it. */
static void parallel_finish(struct parallel *parallel, size_t first)
{
    parallel_work(parallel, atomic_fetch_add(&parallel->next, 1));
    for (; first < parallel->threads && parallel->workers[first].has_thread; first++)
        pthread_join(parallel->workers[first].thread, NULL);
    for (; first < parallel->threads; first++)
        parallel->run(parallel->context, first);
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
