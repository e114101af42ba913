/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool of threads that lives as long as one call. See parallel.h.
 *
 *     positions   0   1   2  ...  T-1 | T ............ next ............ count
 *     run by      caller, threads 1 to T-1 | whoever is free     | nobody yet
 *
 * Each thread begins with the position of its own number: up to PARALLEL_THREADS positions, a
 * thread's system calls are those of one position, which tests rely on. Positions of threads that
 * could not be created are left to the caller.
 */
#include "block/device/parallel.h"

#include "base/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

struct parallel {
    void (*run)(void *context, size_t position);
    void *context;
    size_t count;
    atomic_size_t next;
    const char *request; /* that the caller serves, for the log */
};

struct worker {
    struct parallel *parallel;
    size_t first;
    pthread_t thread;
};

static void parallel_work(struct parallel *parallel, size_t first)
{
    for (size_t i = first; i < parallel->count; i = atomic_fetch_add(&parallel->next, 1))
        parallel->run(parallel->context, i);
}

static void *worker_run(void *arg)
{
    const struct worker *worker = arg;
    pthread_setname_np(pthread_self(), "group-member");
    log_set_request(worker->parallel->request);
    parallel_work(worker->parallel, worker->first);
    return NULL;
}

/* Starts workers 1 to threads - 1; returns the number of the first that could not be started. */
static size_t workers_start(struct worker *workers, size_t threads, struct parallel *parallel)
{
    size_t started = 1;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; started < threads; started++) {
        struct worker *worker = &workers[started];
        *worker = (struct worker){.parallel = parallel, .first = started};
        if (pthread_create(&worker->thread, NULL, worker_run, worker) != 0)
            break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

void parallel_run(size_t count, void (*run)(void *context, size_t position), void *context)
{
    struct worker workers[PARALLEL_THREADS];
    const size_t threads = count < PARALLEL_THREADS ? count : PARALLEL_THREADS;
    struct parallel parallel = {
        .run = run, .context = context, .count = count, .next = threads, .request = log_request()};
    if (count == 0)
        return;
    const size_t started = threads > 1 ? workers_start(workers, threads, &parallel) : 1;
    for (size_t i = started; i < threads; i++)
        run(context, i);
    parallel_work(&parallel, 0);
    for (size_t i = 1; i < started; i++)
        pthread_join(workers[i].thread, NULL);
}
