/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLOCK_NBD_THREAD_H
#define BLOCK_NBD_THREAD_H

#include <pthread.h>

/* Starts a thread that leaves signals to others. 0 or -errno. */
int nbd_thread_new(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

/* Has the calling thread run at once when a request comes, whoever uses the processor: its slices
 * are the shortest that there are, and who has short slices is chosen before who has long ones. It
 * gets no more of the processor for that. Linux before 6.12 does nothing of the kind
 * (see Documentation/scheduler/sched-eevdf.rst there). */
void nbd_thread_serve_promptly(void);

#endif
