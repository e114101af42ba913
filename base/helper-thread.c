/* SPDX-License-Identifier: Apache-2.0
 *
 * See helper-thread.h.
 */
#include "base/helper-thread.h"

#include <signal.h>

/* The library keeps 40 MiB. As of threads that serve REST calls, which do the same steps. */
enum { STACK_BYTES = 1 << 20 };

int helper_thread_new(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int ret = pthread_create(thread, &attributes, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return ret;
}
