/* SPDX-License-Identifier: Apache-2.0
 *
 * Range locks: mapped writes, zeroes and discards exclude each other per guest cluster, from their
 * look-up of an entry to its change.
 */
#include "block/format/qcow2/range-lock.h"

bool qcow2_range_is_locked(const struct qcow2 *q, uint64_t first, uint64_t last)
{
    for (const struct qcow2_range_lock *claim = q->range_locks; claim; claim = claim->next)
        if (claim->first <= last && first <= claim->last)
            return true;
    return false;
}

void qcow2_range_lock_begin(struct qcow2 *q, struct qcow2_range_lock *claim)
{
    while (qcow2_range_is_locked(q, claim->first, claim->last))
        pthread_cond_wait(&q->range_unlocked, &q->lock);
    claim->next = q->range_locks;
    q->range_locks = claim;
}

void qcow2_range_lock_end(struct qcow2 *q, struct qcow2_range_lock *claim)
{
    struct qcow2_range_lock **place = &q->range_locks;
    while (*place != claim)
        place = &(*place)->next;
    *place = claim->next;
    pthread_cond_broadcast(&q->range_unlocked);
}
