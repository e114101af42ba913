/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads. See thread.h.
 */
#include "block/nbd/thread.h"

#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The least that Linux takes; its SCHED_FLAG_KEEP_POLICY. */
enum { SLICE_NS = 100000, KEEP_POLICY = 0x08 };

/* What SYS_sched_setattr takes, in its first version; the C library has no such type. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

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

void nbd_thread_serve_promptly(void)
{
    struct scheduling scheduling = {
        .size = sizeof(scheduling),
        .flags = KEEP_POLICY,
        .nice = getpriority(PRIO_PROCESS, 0),
        .runtime_ns = SLICE_NS,
    };
    syscall(SYS_sched_setattr, 0, &scheduling, 0);
}
