/* SPDX-License-Identifier: Apache-2.0
 *
 * Waits for condition variables that end by themselves.
 *
 * The C library of Debian 12 may lose a signal, as those from 2.25 to 2.41 (glibc's bug 25847): the
 * thread that was to be woken sleeps on until somebody signals again, which for a guest's only
 * request is never. So no wait is long. That is allowed to any of them, and whoever waits looks in
 * a loop whether there is something to do.
 */
#ifndef BASE_CONDITION_H
#define BASE_CONDITION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Until it is signalled, or for a second. */
void condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock);

/* The same, at most until then by clock_monotonic_us(). Whether there is time left. */
bool condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t until_us);

#endif
