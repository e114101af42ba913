/* SPDX-License-Identifier: Apache-2.0
 *
 * Linked into snapgroupd-jobs-alone with --wrap of the functions below: a push gets no thread to
 * write in, so that each of its system calls is one of the job's own thread, where a test can have
 * it fail, or kill the daemon at it.
 */
#include "block/job/writer.h"

#include <errno.h>
#include <pthread.h>

static _Thread_local bool is_refused;

struct writer *__real_writer_new(struct node *node);
struct writer *__wrap_writer_new(struct node *node);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *arg), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *arg), void *arg);

struct writer *__wrap_writer_new(struct node *node)
{
    is_refused = true;
    struct writer *writer = __real_writer_new(node);
    is_refused = false;
    return writer;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *arg), void *arg)
{
    return is_refused ? EAGAIN : __real_pthread_create(thread, attributes, run, arg);
}
