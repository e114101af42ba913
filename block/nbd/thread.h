/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLOCK_NBD_THREAD_H
#define BLOCK_NBD_THREAD_H

#include <pthread.h>

/* Starts a thread that leaves signals to others. 0 or -errno. */
int nbd_thread_new(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

#endif
