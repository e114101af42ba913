/* SPDX-License-Identifier: Apache-2.0
 *
 * The fence of one device: what holds writes back while the cut is made. The drain version:
 *
 *     open --fence_raise--> raised --fence_drain--> raised, no write under way --fence_lower--> open
 *
 * Every change of a device (write, zero, discard) stands between fence_enter and fence_leave.
 * Raised, the fence lets nobody in; those inside go on and leave. So after fence_drain nothing
 * changes until fence_lower. Reads and flushes do not pass here. Private to block/.
 */
#ifndef BLOCK_DEVICE_FENCE_H
#define BLOCK_DEVICE_FENCE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct fence {
    pthread_mutex_t lock;   /* guards all below */
    pthread_cond_t lowered; /* !raised */
    pthread_cond_t drained; /* inside == 0 */
    bool raised;
    unsigned inside;        /* changes under way */
    uint64_t first_held_us; /* when the first one came to the raised fence; 0: none did */
};

void fence_init(struct fence *fence);
void fence_destroy(struct fence *fence);

/* A change comes and goes. While the fence is raised fence_enter waits, and fence_try_enter is false:
 * it is held and comes again. */
void fence_enter(struct fence *fence);
bool fence_try_enter(struct fence *fence);
void fence_leave(struct fence *fence);

/* Called by one thread at a time; none of them can fail. fence_lower returns for how long the
 * change that was held the longest was held, in microseconds; 0 if none was. */
void fence_raise(struct fence *fence);
void fence_drain(struct fence *fence);
uint64_t fence_lower(struct fence *fence);

#endif
