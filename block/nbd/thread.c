/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads. See thread.h.
 */
#include "block/nbd/thread.h"

#include <signal.h>

int nbd_thread_new(pthread_t *thread, const char *name, void *(*run)(void *), void *arg)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int ret = pthread_create(thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (ret == 0)
        pthread_setname_np(*thread, name);
    return -ret;
}
