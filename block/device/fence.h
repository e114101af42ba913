/* SPDX-License-Identifier: Apache-2.0
 *
 * The fence of one device: holds changes back while a cut is made. Private to block/.
 *
 *     open --fence_raise--> raised --fence_drain--> raised and drained --fence_lower--> open
 *
 *   I1. Every change of a device (write, zero, discard) runs between fence_enter and fence_leave;
 *       none enters while the fence is raised. Reads and flushes do not pass the fence.
 *   I2. From fence_drain until fence_lower no change runs: `inside` is 0.
 *   I3. `inside` counts the changes that entered and have not left.
 *   I4. One thread at a time raises, drains and lowers.
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
    uint64_t first_held_us; /* when the first change was held; 0: none was */
};

void fence_init(struct fence *fence);
void fence_destroy(struct fence *fence);

/* Begins and ends a change. While the fence is raised, fence_enter waits and fence_try_enter
 * returns false; the caller tries again. */
void fence_enter(struct fence *fence);
bool fence_try_enter(struct fence *fence);
void fence_leave(struct fence *fence);

/* None can fail. fence_lower returns the longest time a change was held, in microseconds; 0 if none
 * was. */
void fence_raise(struct fence *fence);
void fence_drain(struct fence *fence);
uint64_t fence_lower(struct fence *fence);

#endif
