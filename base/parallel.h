/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps that wait for storage, side by side.
 */
#ifndef BASE_PARALLEL_H
#define BASE_PARALLEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { PARALLEL_THREADS = 16 };

struct parallel;

struct parallel_worker {
    struct parallel *parallel;
    size_t number;
    bool has_thread;
    pthread_t thread;
};

/* Between parallel_begin() and parallel_end(); private to parallel.c. */
struct parallel {
    void (*run)(void *context, size_t position);
    void *context;
    size_t count, threads;
    atomic_size_t next;
    bool is_yielding;
    const char *request; /* that the caller serves, for the log */
    struct parallel_worker workers[PARALLEL_THREADS];
};

/* Calls run(context, position) once for each position below `count`, in up to PARALLEL_THREADS
 * threads, of which the caller's is one; returns when all calls have returned. A call that waits
 * delays none of the others until PARALLEL_THREADS of them wait. Any thread; it cannot fail. */
void parallel_run(size_t count, void (*run)(void *context, size_t position), void *context);

/* The same for steps that use the processor more than they wait, and take no lock of a guest's
 * request: in fewer threads, two for each processor, and those other than the caller's yield to
 * threads that serve guests. */
void parallel_run_yielding(size_t count, void (*run)(void *context, size_t position),
                           void *context);

/* The same in two steps: the first returns at once, the second, by the same thread, when all calls
 * have returned. Calls for which no thread can be created wait for the second. */
void parallel_begin(struct parallel *parallel, size_t count,
                    void (*run)(void *context, size_t position), void *context);
void parallel_end(struct parallel *parallel);

#endif
