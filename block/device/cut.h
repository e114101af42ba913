/* SPDX-License-Identifier: Apache-2.0
 *
 * The cut: one store freezes any number of devices at one instant, and nobody waits. Private to
 * block/.
 *
 * Cuts are numbered: the epoch is the number of the last one. An overlay is armed for the next one
 * (index_arm): it is the top for whoever finds that epoch, or a later one, and nothing before.
 *
 *     arm member 1, arm member 2, ... arm member N     nobody sees it, it may take its time
 *     cut_store                                         THE CUT
 *
 *   E1. All overlays of a cut are armed before its epoch is stored (cut_store: release; cut_epoch:
 *       acquire). A request that found the new epoch was answered, or was seen by a read, before a
 *       later request looks; that one finds the epoch too, on whichever device: no request is in
 *       the snapshot that depends on one which is not. No assert: the members are the group's.
 *   E2. The lock is held from the first overlay armed to the store, so epochs are stored in order.
 *   E3. An armed overlay is never disarmed: nothing can fail between arming and the
 *       store. No assert: index_arm has no reverse.
 */
#ifndef BLOCK_DEVICE_CUT_H
#define BLOCK_DEVICE_CUT_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

/* One for all devices of a block layer. */
struct cut {
    pthread_mutex_t lock;                    /* one cut at a time */
    alignas(64) atomic_uint_least64_t epoch; /* read by every request, written by a cut only */
};

static inline uint64_t cut_epoch(const struct cut *cut)
{
    return atomic_load_explicit(&cut->epoch, memory_order_acquire);
}

/* Makes the cut number `epoch`, the next one. Lock held. */
void cut_store(struct cut *cut, uint64_t epoch);

#endif
