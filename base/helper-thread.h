/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads that live as long as one step of a call.
 */
#ifndef BASE_HELPER_THREAD_H
#define BASE_HELPER_THREAD_H

#include <pthread.h>

/* Starts one that takes no signal. Its stack is small: those of all helpers of a few calls fit into
 * what the C library keeps of ended threads, so that no memory is mapped, and none unmapped, which
 * stops all processors, for each of them. To be joined. 0, or an errno. */
int helper_thread_new(pthread_t *thread, void *(*run)(void *arg), void *arg);

#endif
