/* SPDX-License-Identifier: Apache-2.0
 *
 * Range locks. Mapped writes, zeroes and discards of one guest cluster exclude each other from the
 * look-up of its entry to its change. The list is short: one lock per request in progress.
 *
 *   L1  Locked ranges never overlap.
 *   L2  The image's lock is held; a wait releases it. Not asserted: every write would pay for it.
 */
#include "block/format/qcow2/range-lock.h"

#include "base/condition.h"

bool qcow2_range_is_locked(const struct qcow2 *q, uint64_t first, uint64_t last)
{
    for (const struct qcow2_range_lock *range = q->range_locks; range; range = range->next)
        if (range->first <= last && first <= range->last)
            return true;
    return false;
}

void qcow2_range_lock_begin(struct qcow2 *q, struct qcow2_range_lock *range)
{
    assert(range->first <= range->last);
    while (qcow2_range_is_locked(q, range->first, range->last))
        condition_wait(&q->range_unlocked, &q->lock);
    range->next = q->range_locks;
    q->range_locks = range;
}

void qcow2_range_lock_extend(struct qcow2 *q, struct qcow2_range_lock *range, uint64_t last)
{
    assert(q->range_locks == range && last >= range->last);
    q->range_locks = range->next;
    assert(!qcow2_range_is_locked(q, range->first, last)); /* L1 */
    range->last = last;
    q->range_locks = range;
}

void qcow2_range_lock_end(struct qcow2 *q, struct qcow2_range_lock *range)
{
    struct qcow2_range_lock **place = &q->range_locks;
    while (*place != range) {
        assert(*place);
        place = &(*place)->next;
    }
    *place = range->next;
    pthread_cond_broadcast(&q->range_unlocked);
}
