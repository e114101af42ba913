/* SPDX-License-Identifier: Apache-2.0
 *
 * See fence.h. Only memory is touched: a pivot cannot fail.
 */
#include "block/device/fence.h"

#include <assert.h>
#include <time.h>

static uint64_t fence_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void fence_init(struct fence *fence)
{
    *fence = (struct fence){.raised = false};
    pthread_mutex_init(&fence->lock, NULL);
    pthread_cond_init(&fence->lowered, NULL);
    pthread_cond_init(&fence->drained, NULL);
}

void fence_destroy(struct fence *fence)
{
    assert(!fence->raised && fence->inside == 0);
    pthread_cond_destroy(&fence->drained);
    pthread_cond_destroy(&fence->lowered);
    pthread_mutex_destroy(&fence->lock);
}

static bool fence_pass(struct fence *fence, bool may_wait)
{
    pthread_mutex_lock(&fence->lock);
    if (fence->raised && !fence->first_held_us)
        fence->first_held_us = fence_now_us();
    while (fence->raised && may_wait)
        pthread_cond_wait(&fence->lowered, &fence->lock);
    bool is_in = !fence->raised;
    assert(is_in || !may_wait); /* I1 */
    fence->inside += is_in;
    pthread_mutex_unlock(&fence->lock);
    return is_in;
}

void fence_enter(struct fence *fence)
{
    fence_pass(fence, true);
}

bool fence_try_enter(struct fence *fence)
{
    return fence_pass(fence, false);
}

void fence_leave(struct fence *fence)
{
    pthread_mutex_lock(&fence->lock);
    assert(fence->inside > 0); /* I3 */
    if (--fence->inside == 0 && fence->raised)
        pthread_cond_signal(&fence->drained);
    pthread_mutex_unlock(&fence->lock);
}

void fence_raise(struct fence *fence)
{
    pthread_mutex_lock(&fence->lock);
    assert(!fence->raised); /* I4 */
    fence->raised = true;
    fence->first_held_us = 0;
    pthread_mutex_unlock(&fence->lock);
}

void fence_drain(struct fence *fence)
{
    pthread_mutex_lock(&fence->lock);
    while (fence->inside)
        pthread_cond_wait(&fence->drained, &fence->lock);
    pthread_mutex_unlock(&fence->lock);
}

uint64_t fence_lower(struct fence *fence)
{
    pthread_mutex_lock(&fence->lock);
    assert(!fence->raised || fence->inside == 0); /* I2 */
    fence->raised = false;
    uint64_t held_us = fence->first_held_us ? fence_now_us() - fence->first_held_us : 0;
    pthread_cond_broadcast(&fence->lowered);
    pthread_mutex_unlock(&fence->lock);
    return held_us;
}
