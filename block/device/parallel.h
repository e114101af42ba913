/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps that wait for storage, side by side. Private to device/.
 */
#ifndef BLOCK_DEVICE_PARALLEL_H
#define BLOCK_DEVICE_PARALLEL_H

#include <stddef.h>

enum { PARALLEL_THREADS = 16 };

/* Calls run(context, position) once for each position below `count`, in up to PARALLEL_THREADS
 * threads, of which the caller's is one; returns when all calls have returned. A call that waits
 * delays none of the others until PARALLEL_THREADS of them wait. Any thread; it cannot fail. */
void parallel_run(size_t count, void (*run)(void *context, size_t position), void *context);

#endif
